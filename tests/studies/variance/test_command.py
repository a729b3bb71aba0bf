from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from studies.cli.commands.variance import main
from studies.execution import results
from studies.execution.pool import Outcome, Runner, attempt
from studies.experiment.grid import RunSettings
from studies.statistics.noise import (
    Floats,
    Rows,
    cosine_of_means,
    inner_products,
    noise_to_signal,
    over_rollouts,
    plain_cosine,
    product_of_means,
    total_variance,
)
from studies.variance.gradients import measure_gradients
from studies.variance.learning import has_reached, learn
from studies.variance.reward_to_go import minus_mean_of_others
from studies.variance.settings import Setting, Study
from studies.variance.tables import episodes_table, noise_table

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "docs/results"
TOY = Study(task="toy15", rollouts=4, episodes=16, updates=4, seeds=1, macro=2, every=2)
ALL = np.arange(3)
# Means 2/3 and 2/3, variances 1/3 and 1/3.
THREE = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=np.float32)


def in_this_process(runs: list[RunSettings], runner: Runner, jobs: int) -> Iterator[Outcome]:
    """Stand in for the pool, whose workers take seconds to start."""
    return (attempt(runner, run) for run in reversed(runs))


def test_noise_to_signal_of_three_known_gradients():
    products = inner_products(THREE, THREE)
    np.testing.assert_allclose(products, [[1, 0, 1], [0, 1, 1], [1, 1, 2]])
    assert product_of_means(products, ALL) == pytest.approx(2 / 3)
    assert total_variance(products, ALL) == pytest.approx(2 / 3)
    assert noise_to_signal(products, ALL) == pytest.approx(1.0)


def test_a_rollout_drawn_twice_is_not_paired_with_itself():
    drawn = np.array([[0, 0, 2], [0, 1, 2]])
    products = inner_products(THREE, THREE)
    np.testing.assert_allclose(product_of_means(products, drawn), [1.0, 2 / 3])
    np.testing.assert_allclose(noise_to_signal(products, drawn), [1 / 3, 1.0])


def test_gradients_that_cancel_have_infinite_noise():
    opposite = np.array([[1.0], [-1.0], [1.0], [-1.0]], dtype=np.float32)
    products = inner_products(opposite, opposite)
    assert product_of_means(products, np.arange(4)) == pytest.approx(-1 / 3)
    assert noise_to_signal(products, np.arange(4)) == np.inf


@pytest.mark.parametrize(
    ("other", "taken_out", "plain"),
    [
        (2 * THREE, 1.0, 1.0),
        (-THREE, -1.0, -1.0),
        (THREE * np.array([1, -1], dtype=np.float32), 0.0, 0.0),
        # Means (2/3, 2/3) and (1, 0), the latter without noise: 2/3 over the root of 2/3.
        (np.array([[1, 0]] * 3, dtype=np.float32), 0.816497, 0.707107),
    ],
)
def test_cosines_between_known_means(other: np.ndarray, taken_out: float, plain: float):
    products = (
        inner_products(THREE, THREE),
        inner_products(THREE, other),
        inner_products(other, other),
    )
    assert cosine_of_means(*products, ALL) == pytest.approx(taken_out, abs=1e-6)
    assert plain_cosine(*products) == pytest.approx(plain, abs=1e-6)


def test_the_interval_holds_the_truth_of_a_known_distribution():
    # Variance 1 in each of 4 directions around a mean of squared norm 2.
    drawn = np.random.default_rng(0).normal(loc=[1.0, 1.0, 0.0, 0.0], size=(100, 4))
    products = inner_products(drawn.astype(np.float32), drawn.astype(np.float32))
    found = over_rollouts(lambda rows: noise_to_signal(products, rows), 100)
    assert found.low is not None and found.high is not None
    assert 1.4 < found.low < found.value < found.high < 3.0
    assert found.low < 2.0 < found.high


def test_there_is_no_interval_where_resamples_give_no_number():
    def signless(rows: Rows) -> Floats:
        return np.where(rows[..., 0] == 0, np.inf, 1.0)

    found = over_rollouts(signless, 3)
    assert (found.value, found.low, found.high, found.count) == (np.inf, None, None, 3)


def test_each_return_loses_the_mean_of_the_others_at_its_number():
    returns = torch.tensor([[1.0, 4.0, 5.0], [3.0, 0.0, 0.0], [8.0, 6.0, 0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=torch.bool)
    expected = [[-4.5, -2.0, 5.0], [-1.5, 0.0, 0.0], [6.0, 2.0, 0.0]]
    assert minus_mean_of_others(returns, mask).tolist() == expected


def test_gradients_on_a_toy_task():
    found = measure_gradients(TOY, progress=False)
    assert found.scores.shape == (64,)
    by_label = {setting.label: vectors for setting, vectors in found.vectors.items()}
    assert list(by_label) == [
        "token, terminal",
        "macro_2, terminal",
        "bandit, terminal",
        "token, every_2",
        "token, prefix_difference",
        "token, potential",
        "token, prefix_reward",
    ]
    assert {vectors.shape[0] for vectors in by_label.values()} == {4}
    # The empty prefix of this task scores 0: the two pay the same.
    np.testing.assert_allclose(
        by_label["token, potential"], by_label["token, prefix_difference"], atol=1e-6
    )
    assert not np.allclose(by_label["token, terminal"], by_label["token, every_2"], atol=1e-3)
    again = measure_gradients(TOY, progress=False).vectors
    np.testing.assert_array_equal(again[TOY.settings[0]], by_label["token, terminal"])


def test_granularities_share_a_direction_when_all_is_paid_at_the_end():
    found = measure_gradients(TOY, progress=False).vectors
    token, macro, bandit = (found[setting].astype(float) for setting in TOY.settings[:3])
    # They differ in the baseline alone.
    for other in (macro, bandit):
        norms = np.linalg.norm(token, axis=1) * np.linalg.norm(other, axis=1)
        assert ((token * other).sum(axis=1) / norms > 0.9).all()


def test_three_rollouts_must_reach_the_score_on_average():
    assert has_reached([0.0, 0.0, 3.0], 1.0)
    assert has_reached([-9.0, 1.0, 1.0, 1.0], 1.0)
    assert not has_reached([5.0, 5.0], 1.0)
    assert not has_reached([9.0, 0.0, 0.0, 0.0], 1.0)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (-100.0, {"episodes": 48.0, "reached": 1.0}),
        (100.0, {"episodes": 64.0, "reached": 0.0}),
    ],
)
def test_a_run_ends_when_it_gets_there_or_at_the_limit(threshold: float, expected: dict):
    setting = Setting(granularity="token", density="prefix_reward")
    assert learn(TOY.run(setting, "ppo", 0), threshold).row == expected


def test_the_command_writes_tables_and_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(results, "outcomes", in_this_process)
    words = "--task toy15 --rollouts 6 --episodes 16 --updates 3 --seeds 2 --macro 2 --every 2"
    assert main([*words.split(), "--agents", "ppo", "--out", str(tmp_path / "new/out")]) == 0
    noise = pd.read_csv(tmp_path / "new/out/noise.csv")
    episodes = pd.read_csv(tmp_path / "new/out/episodes.csv")
    assert len(noise) == 7 and noise["relative"][0] == 1.0 and noise["cosine"][0] == 1.0
    assert len(episodes) == 14 and set(episodes["episodes"]) == {48}
    assert episodes["seed"].tolist() == [0] * 7 + [1] * 7
    with Image.open(tmp_path / "new/out/variance.png") as image:
        assert image.size[0] > 1000
    assert "| token | every_2 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--task toy16", "task must be one of"),
        ("--rollouts 2", "rollouts must be a whole number of at least 3, got 2"),
        ("--updates 2", "updates must be a whole number of at least 3, got 2"),
        ("--macro 1", "macro must be a whole number of at least 2, got 1"),
        ("--every 41", "--every must be at most the 40 tokens of the task reviews, got 41"),
        ("--task toy15 --every 2", "got 4; write --macro 3, or less"),
        ("--task toy15", "--macro and --every must be at most the 3 tokens of the task toy15, got"),
        ("--episodes 4", "group_size must divide episodes_per_update = 4, got 8"),
        ("--agents ppo pop", "agent must be one of ppo, grpo"),
        ("--jobs 0", "jobs must be a whole number of at least 1, got 0"),
        ("--seed -1", "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    words: str, expected: str, capsys: pytest.CaptureFixture[str]
):
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("variance: ") and expected in error and error.count("\n") == 1


def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "taken").touch()
    assert main(["--out", str(tmp_path / "taken")]) == 2
    assert "out must be a folder, got the file" in capsys.readouterr().err


def test_a_failed_run_ends_the_study_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def failing(runs: list[RunSettings], runner: Runner, jobs: int) -> Iterator[Outcome]:
        yield Outcome(run=runs[0], result=None, seconds=0.0, error="MemoryError: none left")

    monkeypatch.setattr(results, "outcomes", failing)
    words = "--task toy15 --rollouts 3 --episodes 16 --updates 3 --seeds 1 --macro 2 --every 2"
    assert main([*words.split(), "--out", str(tmp_path)]) == 1
    assert "failed: MemoryError: none left" in capsys.readouterr().err


def test_help_does_not_wait_for_torch():
    code = (
        "import sys\nfrom studies.cli.commands.variance import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0 and "--rollouts" in found.stdout


@pytest.mark.parametrize(
    ("name", "as_table"), [("noise.csv", noise_table), ("episodes.csv", episodes_table)]
)
def test_the_page_shows_the_recorded_figures(name: str, as_table: Callable[[pd.DataFrame], str]):
    page = (RESULTS / "variance.md").read_text(encoding="utf-8")
    assert as_table(pd.read_csv(RESULTS / "variance" / name)) in page
