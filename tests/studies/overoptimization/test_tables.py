"""The curves, fits and tables of the over-optimization study; nothing is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rlhf_env import Task, exact, load_task
from rlhf_env.exact.best_of_n import best_of_n
from studies.overoptimization.curves import Curve, curves, over_seeds
from studies.overoptimization.settings import Study
from studies.overoptimization.tables import (
    changes,
    comparisons_table,
    fit_rows,
    fits_table,
    peaks_table,
)
from studies.statistics.gao import BEST_OF_N

RESULTS = Path(__file__).parents[3] / "docs/results"
# E[gold] of the reference, where the gold reward of (1, 1, 1) is −1.
REFERENCE_GOLD = -0.022424


def misjudged() -> Task:
    """Return "toy15" with a gold reward that agrees with the reward but for (1, 1, 1)."""
    task = load_task("toy15")

    def gold(prompts: list[torch.Tensor], responses: list[torch.Tensor]) -> torch.Tensor:
        is_best = torch.tensor([response.tolist() == [1, 1, 1] for response in responses])
        return torch.where(is_best, -1.0, task.reward(prompts, responses))

    return dataclasses.replace(task, gold=gold)


def exact_points(task: Task) -> pd.DataFrame:
    """Return both sweeps as the study records its own, the gold score counted from the start."""
    gold_task = dataclasses.replace(task, reward=task.gold)
    rows: list[tuple[str, int, float, float, float]] = [
        ("RL", 0, 0.0, 0.039595, 0.0),
        ("best-of-n", 0, 0.0, 0.039595, 0.0),
    ]
    for step, beta in enumerate((8.0, 4.0, 2.0, 1.0, 0.7, 0.5, 0.3, 0.1), start=1):
        best = exact.solve(task, beta)
        truth = exact.evaluate(gold_task, best.policy, beta).reward
        rows.append(("RL", step, best.kl, best.reward, truth - REFERENCE_GOLD))
    for step, n in enumerate((2, 4, 8, 16, 32, 64, 256), start=1):
        chosen = best_of_n(task, n)
        assert chosen.gold is not None
        rows.append(("best-of-n", step, chosen.kl, chosen.reward, chosen.gold - REFERENCE_GOLD))
    points = pd.DataFrame(rows, columns=["method", "step", "kl", "proxy", "gold"])
    return points.assign(judge="exact", seed=0, accuracy=1.0)


def curve(gold: list[list[float]]) -> Curve:
    values = np.array(gold)
    distance = np.broadcast_to(np.arange(values.shape[1], dtype=float), values.shape)
    return Curve(
        judge="a judge",
        method="RL",
        distance=distance,
        proxy=distance,
        gold=values,
        accuracy=np.ones(len(values)),
    )


def test_the_exact_sweeps_of_a_toy_through_the_tables():
    points = exact_points(misjudged())
    rl, chosen = curves(points)
    assert (np.diff(rl.proxy) > 0).all() and (np.diff(chosen.proxy) > 0).all()
    assert rl.peak_distance == pytest.approx(0.7439, abs=1e-4)
    assert rl.peak_height == pytest.approx(0.296079 + 0.022424, abs=2e-6)
    assert rl.last_gold == pytest.approx(-0.999278 + 0.022424, abs=2e-6)
    assert chosen.peak_distance == pytest.approx(1.3114, abs=1e-4)
    assert chosen.peak_height == pytest.approx(0.825088 + 0.022424, abs=2e-6)
    assert chosen.last_gold == pytest.approx(-0.943213 + 0.022424, abs=2e-6)
    # Lost: −0.999278 − 0.296079 of gold, for 2.999832 − 1.052379 of proxy.
    assert (
        "| RL | exact | 1.000 | 0.74 | 0.32 | -0.98 | -1.30 | 1.95 | 2.04 |\n"
        "| best-of-n | exact | 1.000 | 1.31 | 0.85 | -0.92 | -1.77 | 1.27 | 2.02 |"
    ) in peaks_table(points)


def test_the_laws_fitted_to_the_exact_sweeps():
    rows = fit_rows(exact_points(misjudged())).set_index(["method", "law"])
    # By numpy.linalg.lstsq on the columns d and −d²; with n = 32, and from the start at (0, 0).
    own = rows.loc[("best-of-n", "best-of-n")]
    assert own["alpha"] == pytest.approx(2.021752, abs=1e-4)
    assert own["beta"] == pytest.approx(1.167643, abs=1e-4)
    # α / 2β and α² / 4β.
    assert own["peak"] == pytest.approx(0.86574, abs=1e-4)
    assert own["height"] == pytest.approx(0.87516, abs=1e-4)
    assert np.isnan(own["peak_low"])
    table = fits_table(exact_points(misjudged()))
    assert "| best-of-n | exact | best-of-n | 2.022 | 1.168 | 0.8" in table
    assert "| 0.87 | 0.88 |" in table


def test_a_law_is_fitted_to_the_mean_and_to_each_seed():
    # d (2 − 0.5 d) at d = 0 … 3 is 0, 1.5, 2, 1.5; the seeds lie 0.5 d around it.
    found = curve([[0.0, 2.0, 3.0, 3.0], [0.0, 1.0, 1.0, 0.0]])
    law = found.fit(BEST_OF_N)
    assert law is not None
    assert (law.alpha, law.beta, law.r_squared) == pytest.approx((2.0, 0.5, 1.0))
    assert [one.alpha for one in found.fits(BEST_OF_N)] == pytest.approx([2.5, 1.5])


def test_a_law_that_turns_beyond_the_data_is_no_finding():
    points = exact_points(misjudged())
    rising = points[(points["method"] == "best-of-n") & (points["step"] <= 3)]
    assert "not in the sweep" in fits_table(rising)


def test_intervals_over_seeds():
    two = curve([[0.0, 1.0], [0.0, 5.0]])
    found = over_seeds(lambda drawn: drawn.last_gold, two)
    # Both seeds, or one of them twice: 1, 3 and 5.
    assert (found.value, found.low, found.high, found.count) == (3.0, 1.0, 5.0, 2)
    paired = over_seeds(lambda a, b: b.last_gold - a.last_gold, two, curve([[0, 2], [0, 6]]))
    assert (paired.value, paired.low, paired.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("gold", [[[0.0, 1.0]], [[0.0, np.nan], [0.0, 1.0]]])
def test_one_seed_or_a_missing_number_gives_no_interval(gold: list[list[float]]):
    found = over_seeds(lambda drawn: drawn.last_gold, curve(gold))
    assert (found.low, found.high) == (None, None)


def test_a_peak_is_that_of_the_mean_over_seeds():
    found = curve([[0.0, 2.0, 1.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
    assert (found.peak_distance, found.peak_height, found.last_gold) == (2.0, 1.5, 0.5)


def test_a_change_is_seed_by_seed():
    rows = [
        (judge, seed, step, float(step), gold)
        for judge, golds in {
            "1 layer, 120 pairs": [[0.0, 1.0, 0.0], [0.0, 2.0, 1.0]],
            "1 layer, 120 pairs, worst": [[0.0, 0.5, 2.0], [0.0, 1.5, 3.0]],
        }.items()
        for seed, values in enumerate(golds)
        for step, gold in enumerate(values)
    ]
    points = pd.DataFrame(rows, columns=["judge", "seed", "step", "proxy", "gold"])
    points = points.assign(method="RL", kl=points["step"] ** 2, accuracy=0.7)
    study = Study(layers=(1,), pairs=(120,), ensemble_pairs=120, rules=("worst",), seeds=2)
    expected = "one model to worst | +1.00 [+1.00, +1.00] | "
    table = comparisons_table(points, study)
    assert expected in table
    assert table.endswith("| +1.00 [+1.00, +1.00] | +2.00 [+2.00, +2.00] |")


def test_what_is_compared_with_what():
    names = [name for name, _, _ in changes(Study(rules=("worst",)))]
    assert names == [
        "3 layers: 250 to 4000 pairs",
        "1000 pairs: 1 to 3 layers",
        "3 layers, 1000 pairs: one model to worst",
    ]
    assert changes(Study(layers=(3,), pairs=(1000,), rules=())) == []


def test_the_page_shows_the_recorded_figures():
    page = (RESULTS / "overoptimization.md").read_text(encoding="utf-8")
    points = pd.read_csv(RESULTS / "overoptimization/points.csv")
    for table in (peaks_table(points), fits_table(points), comparisons_table(points, Study())):
        assert table in page
