"""The study of comparisons: its data, its exact points, and that it goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_env import exact
from studies.cli.commands.preference import main
from studies.preference.data import all_responses, draw_pairs, fitted_reward
from studies.preference.settings import Job, Study
from studies.preference.work import curve, points_file
from tests.rlhf_env.toy15_tables import RESPONSES

TINY = [
    *("--jobs", "1", "--seeds", "1", "--pairs", "64", "--updates", "2", "--every", "1"),
    *("--methods", "dpo", "kto", "reward_ppo", "best_of_n"),
]


def test_the_responses_are_those_of_the_task() -> None:
    known = all_responses()
    scores = dict(zip(known.ids, known.scores.tolist(), strict=True))
    expected = {tuple(t for t in ids if t >= 0): score for ids, (_, score) in RESPONSES.items()}
    assert scores == pytest.approx(expected)
    assert known.mass.sum() == pytest.approx(1.0, abs=1e-6)
    assert known.mass[known.ids.index((0,))] == pytest.approx(0.502483, abs=1e-6)


def test_pairs_follow_the_law() -> None:
    """Shares of all ordered pairs: the gold accuracy of Bradley-Terry labels is .758496."""
    known, pairs = all_responses(), draw_pairs(20_000, seed=0)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    ahead = known.scores[pairs[:, 0]] - known.scores[pairs[:, 1]]
    accuracy = (ahead > 0).mean() + 0.5 * (ahead == 0).mean()
    assert accuracy == pytest.approx(0.758496, abs=0.01)
    assert (pairs == draw_pairs(20_000, seed=0)).all()
    assert (pairs != draw_pairs(20_000, seed=1)).any()


def test_the_reward_model_learns_differences_of_scores() -> None:
    known = all_responses()
    table = fitted_reward(draw_pairs(20_000, seed=0), ridge=1e-6).table
    found = np.array([table[ids] for ids in known.ids])
    errors = found - known.scores - np.average(found - known.scores, weights=known.mass)
    assert np.average(np.abs(errors), weights=known.mass) < 0.1


def test_the_optimum_of_the_true_reward_is_the_whole_share() -> None:
    """Many pairs: the reward model's exact optimum is nearly the true one."""
    (end,) = curve(Study(), Job(method="reward_optimum", pairs=20_000, seed=0))
    assert 0.95 < float(end["share"]) <= 1.0 + 1e-9
    task = all_responses().task
    assert exact.solve(task, task.kl_coef).objective == pytest.approx(1.125295, abs=1e-6)


def test_best_of_one_is_the_reference() -> None:
    first, *others = curve(Study(largest_n=4), Job(method="best_of_n", pairs=1000, seed=0))
    assert first["kl"] == pytest.approx(0.0, abs=1e-9)
    assert first["gold"] == pytest.approx(0.039595, abs=1e-6)
    assert [row["step"] for row in others] == [2, 4]
    assert sum(bool(row["is_end"]) for row in (first, *others)) == 1


def test_the_command_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "| reward model + PPO | 64 |" in table
    kept = points_file(Study(out=tmp_path), Job(method="dpo", pairs=64, seed=0))
    first = pd.read_csv(kept)
    # The policy begins as the reference, and DPO leaves it.
    assert first["kl"].iloc[0] == pytest.approx(0.0, abs=1e-9)
    assert first["kl"].iloc[-1] > 1e-4
    kept.unlink()
    times = {path: path.stat().st_mtime_ns for path in kept.parent.iterdir()}
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == table
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert (tmp_path / "preference.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--methods", "ppo"], "methods must be among dpo"),
        (["--pairs", "10"], "pairs must be"),
        (["--batch", "6", "--pairs", "10"], "batch must be a multiple of 4"),
        (["--pairs", "200", "200"], "pairs must hold different values"),
    ],
)
def test_bad_settings_are_one_sentence(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(tmp_path / "new")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_of_another_budget_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--methods", "reward_optimum", "--pairs", "64", "--seeds", "1", "--jobs", "1"]
    assert main([*common, "--out", str(tmp_path)]) == 0
    assert main([*common, "--ridge", "0.5", "--out", str(tmp_path)]) == 2
    assert "same settings" in capsys.readouterr().err
