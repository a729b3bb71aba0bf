from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_env.tasks.reviews.assets import ASSETS, load_figures
from rlhf_env.tasks.reviews.figures import Figures, best_of_n, mean_estimate, ratio_estimate


def test_mean_and_standard_error() -> None:
    estimate = mean_estimate(torch.tensor([True, False, True, True]))
    assert estimate.value == 0.75
    assert estimate.standard_error == pytest.approx(0.25)


def test_a_ratio_and_its_standard_error() -> None:
    estimate = ratio_estimate(torch.tensor([2.0, 4.0, 9.0]), torch.tensor([1, 2, 3]))
    assert estimate.value == pytest.approx(2.5)
    assert estimate.standard_error == pytest.approx(0.381881, abs=1e-6)


def test_best_of_n_from_one_pool() -> None:
    proxy = torch.tensor([[0.1, 0.5, 0.3, 0.9, 0.7]])
    gold = torch.tensor([[1.0, 2.0, 3.0, 0.0, 5.0]])
    rows = best_of_n(proxy, gold, [1, 2, 3, 5])
    assert [row.n for row in rows] == [1, 2, 3, 5]
    assert [row.gold for row in rows] == pytest.approx([2.2, 2.2, 1.7, 0.0])
    assert [row.proxy for row in rows] == pytest.approx([0.5, 0.7, 0.8, 0.9])


def test_best_of_n_is_a_mean_over_prompts() -> None:
    proxy = torch.tensor([[0.0, 1.0], [3.0, 2.0]])
    gold = torch.tensor([[5.0, 7.0], [1.0, 2.0]])
    (row,) = best_of_n(proxy, gold, [2])
    assert (row.proxy, row.gold) == pytest.approx((2.0, 4.0))


def test_figures_survive_their_file(tmp_path: Path) -> None:
    figures = load_figures(ASSETS)
    path = tmp_path / "figures.json"
    path.write_text(figures.to_json(), encoding="utf-8")
    assert Figures.read(path) == figures
    assert path.read_text() == (ASSETS / "figures.json").read_text()
