from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from rlhf_env import Task, load_task
from studies.cli.commands.overoptimization import main
from studies.overoptimization import session
from studies.overoptimization.best_of_n import (
    Pool,
    best_of_n_rows,
    ordering_accuracy,
    standardized,
)
from studies.overoptimization.policies import learning_rows, measured_scales
from studies.overoptimization.proxies import comparisons, first_layers
from studies.overoptimization.settings import Fitting, Judge, Learning, Study
from studies.overoptimization.tables import peaks_table

ROOT = Path(__file__).parents[3]
# The least that has a single judge and an ensemble; seconds.
TINY = [
    *("--jobs", "1", "--seeds", "1", "--layers", "1", "--pairs", "120", "--ensemble-pairs", "120"),
    *("--members", "2", "--rules", "worst", "--fitting.steps", "2", "--fitting.reference", "16"),
    *("--sampling.prompts", "1", "--sampling.pool", "8"),
    *("--learning.updates", "2", "--learning.episodes", "4"),
]


@pytest.fixture(scope="module")
def reviews() -> Task:
    return load_task("reviews")


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
        ("--sampling.pool 3", "--pool must be a whole number of at least 4, got 3"),
        ("--updates -1", "--updates must be a whole number of at least 0"),
        ("--episodes 6", "--episodes must be a multiple of 4, got 6"),
        ("--learning.kl-coef -0.1", "--kl-coef must be a finite number >= 0, got -0.1"),
        ("--fitting.learning-rate nan", "--proxy-learning-rate must be a finite number >= 0"),
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
        "import sys\nfrom studies.cli.commands.overoptimization import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0 and "--ensemble-pairs" in found.stdout


def test_judge_labels():
    assert Judge(layers=1, pairs=250).label == "1 layer, 250 pairs"
    assert Judge(layers=3, pairs=250, rule="mean").label == "3 layers, 250 pairs, mean"
