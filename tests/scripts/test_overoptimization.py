from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rlhf_env import Task, exact, load_task
from rlhf_env.best_of_n import best_of_n
from scripts.overoptimization import main
from scripts.overoptimization_study import session
from scripts.overoptimization_study.best_of_n import (
    Pool,
    best_of_n_rows,
    ordering_accuracy,
    standardized,
)
from scripts.overoptimization_study.curves import Curve, curves, over_seeds
from scripts.overoptimization_study.policies import learning_rows, measured_scales
from scripts.overoptimization_study.proxies import comparisons, first_layers
from scripts.overoptimization_study.settings import Fitting, Judge, Learning, Study
from scripts.overoptimization_study.tables import (
    changes,
    comparisons_table,
    fit_rows,
    fits_table,
    peaks_table,
)
from scripts.reporting.gao import BEST_OF_N

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
# The least that has a single judge and an ensemble; seconds.
TINY = [
    *("--jobs", "1", "--seeds", "1", "--layers", "1", "--pairs", "120", "--ensemble-pairs", "120"),
    *("--members", "2", "--rules", "worst", "--fitting.steps", "2", "--fitting.reference", "16"),
    *("--sampling.prompts", "1", "--sampling.pool", "8"),
    *("--learning.updates", "2", "--learning.episodes", "4"),
]
# E[gold] of the reference, where the gold reward of (1, 1, 1) is −1.
REFERENCE_GOLD = -0.022424


@pytest.fixture(scope="module")
def reviews() -> Task:
    return load_task("reviews")


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
    expected = "one model to worst | +1.00 [+1.00, +1.00] | +1.00 [+1.00, +1.00] | +2.00 [+2.00"
    assert expected in comparisons_table(points, study)


def test_what_is_compared_with_what():
    names = [name for name, _, _ in changes(Study(rules=("worst",)))]
    assert names == [
        "3 layers: 250 to 4000 pairs",
        "1000 pairs: 1 to 3 layers",
        "3 layers, 1000 pairs: one model to worst",
    ]
    assert changes(Study(layers=(3,), pairs=(1000,), rules=())) == []


def test_judges_and_the_models_they_share():
    study = Study(layers=(1, 3), pairs=(250, 4000), ensemble_pairs=1000, members=4, seeds=2)
    assert [judge.label for judge in study.judges] == [
        "3 layers, 250 pairs",
        "3 layers, 4000 pairs",
        "1 layer, 1000 pairs",
        "3 layers, 1000 pairs",
        "3 layers, 1000 pairs, mean",
        "3 layers, 1000 pairs, worst",
        "3 layers, 1000 pairs, uncertainty",
    ]
    jobs = study.all_jobs()
    assert len(jobs) == 14 and len({job.name for job in jobs}) == 14
    members = {job.proxy.name: job.proxy.members for job in jobs if job.proxy.seed == 0}
    assert members == {
        "layers3-pairs250-seed0": 1,
        "layers3-pairs4000-seed0": 1,
        "layers1-pairs1000-seed0": 1,
        "layers3-pairs1000-seed0": 4,
    }


def test_best_of_n_by_a_judge_of_known_scores():
    scores = torch.tensor([0.1, 0.5, 0.3, 0.9, 0.7])
    pool = Pool(
        prompts=[torch.tensor([0])] * 5,
        responses=[torch.tensor([place]) for place in range(5)],
        gold=torch.tensor([[1.0, 2.0, 3.0, 0.0, 5.0]]).double(),
    )
    rows = best_of_n_rows(lambda prompts, responses: scores, pool)
    assert [row["step"] for row in rows] == [1, 2]
    # Mean 0.5 and spread √0.08: the best of two is worth 0.7.
    assert [row["proxy"] for row in rows] == pytest.approx([0.0, 0.707107], abs=1e-6)
    assert [row["gold"] for row in rows] == pytest.approx([2.2, 2.2])
    assert [row["kl"] for row in rows] == pytest.approx([0.0, 0.193147], abs=1e-6)
    # The first two against the next two: gold says no and yes, the judge no and no.
    assert ordering_accuracy(lambda prompts, responses: scores, pool) == 0.5
    torch.testing.assert_close(
        standardized(torch.tensor([1.0, 3.0])), torch.tensor([-1.0, 1.0]).double()
    )


def test_comparisons_are_of_the_seed_and_read_back_as_they_were_drawn(reviews: Task):
    data = comparisons(reviews, 150, seed=0)
    assert len(data) == 150 and data.kind == "comparisons"
    first = data.pairs[0]
    assert first.prompt.endswith(":") and "<" not in first.chosen + first.rejected
    assert reviews.decode(torch.tensor(reviews.tokenizer.encode(first.chosen))) == first.chosen
    assert comparisons(reviews, 150, seed=0).pairs == data.pairs
    assert comparisons(reviews, 150, seed=1).pairs != data.pairs


def test_a_smaller_proxy_begins_with_the_first_layers(reviews: Task):
    whole = reviews.reference
    shorter = first_layers(whole, 1)
    assert len(shorter.model.layers) == 1 and len(whole.model.layers) == 3
    ids = torch.tensor([[5, 6, 7]])
    after_one = whole(input_ids=ids, output_hidden_states=True).hidden_states[1]
    hidden = shorter(input_ids=ids, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(hidden, whole.model.norm(after_one))


def test_policies_start_at_the_reference_and_repeat_themselves(reviews: Task):
    learning = Learning(updates=2, episodes=8, learning_rate=3e-3)
    scales = measured_scales(reviews.reward, reviews, Fitting(reference=64), seed=0)
    rows = learning_rows(reviews.reward, reviews, learning, scales, seed=0)
    assert [row["step"] for row in rows] == [0, 1]
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert rows[1]["kl"] > 0.01
    assert learning_rows(reviews.reward, reviews, learning, scales, seed=0) == rows


def test_scales_are_those_of_the_reference(reviews: Task):
    def twice(prompts: list[torch.Tensor], responses: list[torch.Tensor]) -> torch.Tensor:
        return 2.0 * reviews.gold(prompts, responses) + 3.0

    scales = measured_scales(twice, reviews, Fitting(reference=64), seed=0)
    assert scales.proxy.mean == pytest.approx(2.0 * scales.gold.mean + 3.0, abs=1e-5)
    assert scales.proxy.sd == pytest.approx(2.0 * scales.gold.sd, abs=1e-5)


def test_the_command_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "new/out"
    assert main([*TINY, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    points = pd.read_csv(out / "points.csv")
    # n = 1, 2, 4 and two rollouts, for one model and for the ensemble.
    assert len(points) == 10 and set(points["judge"]) == {
        "1 layer, 120 pairs",
        "1 layer, 120 pairs, worst",
    }
    assert peaks_table(points) in printed
    with Image.open(out / "overoptimization.png") as image:
        assert image.size[0] > 1000

    def undo(*_: object) -> None:
        raise AssertionError("this was done already")

    with monkeypatch.context() as patched:
        patched.setattr(session, "make_proxy", undo)
        patched.setattr(session, "make_points", undo)
        (out / "points.csv").unlink()
        assert main([*TINY, "--out", str(out)]) == 0
    assert pd.read_csv(out / "points.csv").equals(points)
    (out / "points/layers1-pairs120-seed0-worst.csv").unlink()
    assert main([*TINY, "--out", str(out)]) == 0
    assert pd.read_csv(out / "points.csv").equals(points)
    capsys.readouterr()
    assert main([*TINY, "--learning.updates", "3", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "out must be a folder of a study with the same settings" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--layers 4", "layers must be from 1 to 3, got 4"),
        ("--rules best", "rules must be among mean, worst, uncertainty, got 'best'"),
        ("--pairs 100", "pairs must be a whole number of at least 120, got 100"),
        ("--members 1", "members must be a whole number of at least 2, got 1"),
        ("--seeds 0", "seeds must be a whole number of at least 1, got 0"),
        ("--jobs 0", "jobs must be a whole number of at least 1, got 0"),
        ("--sampling.pool 3", "sampling.pool must be a whole number of at least 4, got 3"),
        ("--learning.updates -1", "learning.updates must be a whole number of at least 0"),
        ("--learning.episodes 6", "learning.episodes must be a multiple of 4, got 6"),
        ("--learning.kl-coef -0.1", "learning.kl_coef must be a finite number >= 0, got -0.1"),
        ("--fitting.learning-rate nan", "fitting.learning_rate must be a finite number >= 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    words: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([*words.split(), "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("overoptimization: ") and expected in error
    assert error.count("\n") == 1 and not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_folder_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "settings.json").write_text(content)
    assert main(["--out", str(tmp_path)]) == 2
    assert "damaged settings.json; name another folder" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "taken").touch()
    assert main(["--out", str(tmp_path / "taken")]) == 2
    assert "out must be a folder, got the file" in capsys.readouterr().err


def test_a_failed_piece_ends_the_study_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def failing(*_: object) -> None:
        raise RuntimeError("no memory\nleft")

    monkeypatch.setattr(session, "make_proxy", failing)
    assert main([*TINY, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("overoptimization: no memory left\n")


def test_help_does_not_wait_for_torch():
    code = (
        "import sys\nfrom scripts.overoptimization import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0 and "--ensemble-pairs" in found.stdout


def test_the_page_shows_the_recorded_figures():
    page = (RESULTS / "overoptimization.md").read_text(encoding="utf-8")
    points = pd.read_csv(RESULTS / "overoptimization/points.csv")
    for table in (peaks_table(points), fits_table(points), comparisons_table(points, Study())):
        assert table in page


def test_judge_labels():
    assert Judge(layers=1, pairs=250).label == "1 layer, 250 pairs"
    assert Judge(layers=3, pairs=250, rule="mean").label == "3 layers, 250 pairs, mean"
