"""The script for GPUs runs on a CPU with a small model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.gpu import GPU_TESTS, Settings, main
from benchmarks.gpu_passes import cut


def test_it_is_tried_on_a_cpu(tmp_path: Path) -> None:
    main(Settings(device="cpu", tiny=True, tests=False, steps=1, out=tmp_path / "gpu"))
    table = (tmp_path / "gpu.md").read_text()
    measured = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    assert measured[1:] == [
        "| copy, GB/s",
        "| product of matrices in bf16, TFLOP/s",
        "| rollout with rewards, tokens/s",
        "| its share of the bandwidth",
        "| rollout without CUDA graphs, tokens/s",
        "| update, tokens/s",
        "| its share of the peak",
        "| step, s",
        "| pass over responses of many lengths, tokens/s",
        "| the same without flex attention, tokens/s",
    ]


def test_all_tests_for_gpus_are_run() -> None:
    root = Path(__file__).parents[2]
    marked = [file for file in root.glob("tests/**/*.py") if "mark.gpu" in file.read_text()]
    folders = [root / folder for folder in GPU_TESTS]
    assert all(folder.is_dir() for folder in folders)
    assert len(marked) > 2
    others = [file for file in marked if not any(f in file.parents for f in folders)]
    assert others == [Path(__file__)]


def test_responses_are_cut_to_many_lengths() -> None:
    """Eight of eight tokens, after a prompt of two."""
    is_action = (torch.arange(10) >= 2).expand(8, 10)
    kept = cut(is_action)
    lengths = kept.sum(dim=1)
    assert lengths.sort().values.tolist() == [2, 2, 3, 4, 5, 6, 7, 8]
    columns = torch.arange(10)
    assert torch.equal(kept, (columns >= 2) & (columns < 2 + lengths[:, None]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(SystemExit, match="there is no GPU; add --device cpu"):
        main(Settings())
