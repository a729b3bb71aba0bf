from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_env.tasks.reviews import reviews_task
from rlhf_env.tasks.reviews.assets import load_figures, load_language_model, load_proxy
from rlhf_env.tasks.reviews.build import SMALL, build


@pytest.mark.slow
def test_a_small_build_is_a_task_and_can_be_repeated(tmp_path: Path) -> None:
    figures = build(3, SMALL, tmp_path / "first")
    again = build(3, SMALL, tmp_path / "again")
    assert load_figures(tmp_path / "first") == figures
    assert figures.language_model == again.language_model
    assert (figures.reference, figures.best_of_n) == (again.reference, again.best_of_n)
    for load in (load_language_model, load_proxy):
        first, second = load(tmp_path / "first"), load(tmp_path / "again")
        for a, b in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(a, b)

    task = reviews_task(tmp_path / "first")
    scores = task.reward(list(task.prompts[:2]), [torch.tensor([5, 1])] * 2)
    assert scores.shape == (2,)
    assert figures.reference.proxy.value == pytest.approx(0.0, abs=1e-5)
    assert figures.language_model.cross_entropy.value < 4.5
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        2
        * [
            "config.json",
            "config.json",
            "figures.json",
            "generation_config.json",
            "model.safetensors",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
    )


def test_missing_assets_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"build_reviews\.py"):
        load_proxy(tmp_path)
