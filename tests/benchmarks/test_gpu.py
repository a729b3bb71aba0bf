"""The script for GPUs runs on a CPU with a small model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.gpu import Settings, main


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
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(SystemExit, match="there is no GPU; add --device cpu"):
        main(Settings())
