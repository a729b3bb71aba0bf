from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agents import PPO
from rlhf_env import load_task
from studies.cli.commands.evaluate import main
from studies.cli.commands.train import main as train
from studies.evaluation.intervals import mean, win_rate
from tests.studies.saved_agents import MODEL, QUICK, save_untrained, train_on_toy15, write_model

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on_toy15(tmp_path_factory.mktemp("evaluate") / "run", "--learning-rate", "0.05")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_run_needs_nothing_but_its_folder(run: Path, capsys: pytest.CaptureFixture):
    assert main([str(run), "--episodes", "40", "--samples", "1"]) == 0
    shown = capsys.readouterr().out
    assert "agent" in shown and "reference" in shown and "wins against the reference" in shown
    out = run.with_name("run-evaluation")
    found = json.loads((out / "evaluation.json").read_text())
    assert found["task"] == "toy15"
    assert found["figures"]["score"]["count"] == 40
    assert found["figures"]["score"]["low"] < found["figures"]["score"]["high"]
    assert found["reference"]["kl"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert found["figures"]["kl"]["value"] > 0.0
    lines = (out / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["agent"] * 40 + ["reference"] * 40


def test_it_says_what_training_said(run: Path):
    """The run's own evaluation is of other responses, so only nearly the same."""
    assert main([str(run), "--episodes", "2000"]) == 0
    found = json.loads((run.with_name("run-evaluation") / "evaluation.json").read_text())
    assert main([str(run), "--episodes", "2000", "--seed", "1"]) == 0
    again = json.loads((run.with_name("run-evaluation") / "evaluation.json").read_text())
    assert found["figures"] != again["figures"]
    for name in ("score", "kl", "response_length"):
        first, second = found["figures"][name], again["figures"][name]
        assert first["low"] < second["high"] and second["low"] < first["high"]


def test_a_saved_agent_needs_a_task(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = save_untrained(tmp_path / "agent")
    assert main([str(folder)]) == 2
    assert "--task or --model must say what to ask, got neither" in capsys.readouterr().err
    assert main([str(folder), "--task", "toy15", "--episodes", "20"]) == 0
    found = json.loads((tmp_path / "agent-evaluation" / "evaluation.json").read_text())
    # It is the reference still, and answers with the same random numbers.
    assert found["figures"]["win_rate"]["value"] == 0.5
    assert found["figures"]["score"] == found["reference"]["score"]


def test_an_agent_that_chooses_is_asked_itself(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Its policy is the reference: only choosing makes it better."""
    run = train_on_toy15(tmp_path / "run", "--agent", "best_of_n")
    assert main([str(run), "--episodes", "100"]) == 0
    found = json.loads((tmp_path / "run-evaluation" / "evaluation.json").read_text())
    assert found["figures"]["score"]["low"] > found["reference"]["score"]["high"]


def test_the_same_seed_gives_the_same_files(run: Path):
    for out in ("one", "two"):
        words = [str(run), "--episodes", "8", "--out", str(run.with_name(out))]
        assert main(words) == 0
    one, two = (run.with_name(out) for out in ("one", "two"))
    for name in ("evaluation.json", "samples.jsonl"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_checkpoint_of_a_run_knows_its_task(run: Path):
    newest = max((run / "checkpoints").iterdir())
    assert main([str(newest), "--episodes", "8", "--out", str(run.with_name("out"))]) == 0


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(run: Path):
    newest = max((run / "checkpoints").iterdir())
    shutil.copytree(newest, newest.with_name("update-00000009"))
    (newest.with_name("update-00000009") / "policy.safetensors").write_bytes(b"")
    assert main([str(run), "--episodes", "8"]) == 0
    found = json.loads((run.with_name("run-evaluation") / "evaluation.json").read_text())
    assert found["checkpoint"] == str(newest)


def test_a_model_of_ones_own_is_judged_by_the_reward_that_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)
    assert train([*MODEL, "--ratings", "rows.jsonl", *QUICK, "--out", "run"]) == 0
    assert main(["run", "--episodes", "8"]) == 0
    found = json.loads(Path("run-evaluation/evaluation.json").read_text())
    assert found["task"] == "model"
    with Path("prompts.txt").open("a") as file:
        file.write("\nw9")
    assert main(["run", "--episodes", "8"]) == 2
    assert "--prompts must be as it was when run was trained" in capsys.readouterr().err


def foreign(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "thesis.txt").write_text("mine")


REFUSED = [
    (["nowhere"], "got nowhere where there is nothing; correct the path"),
    (["file"], "got file where there is a file"),
    (["empty"], "got empty without manifest.json or checkpoints"),
    (["grid"], "got the ablation grid, whose agents are not kept"),
    (["run", "--task", "revews"], "did you mean 'reviews'"),
    (["run", "--model", "empty", "--prompts", "file"], "needs one of --ratings and --reward"),
    (["run", "--model", "no", "--task", "toy15"], "exclude each other"),
    (["run", "--prompt-field", "x"], "--prompt-field goes with --task or --model, got 'x'"),
    (["run", "--episodes", "0"], "--episodes must be a whole number of at least 1, got 0"),
    (["run", "--seed", "-1"], "--seed must be a whole number of at least 0"),
    (["run", "--out", "run"], "got 'run' with checkpoints in it; name another folder"),
    (["run", "--out", "file"], "--out must be a folder"),
    (["run", "--out", "thesis"], "got 'thesis' with thesis.txt in it"),
    (["run", "--task", "reviews"], "use the same policy"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(w) for w, _ in REFUSED])
def test_what_cannot_be_evaluated_is_one_sentence(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: list[str],
    message: str,
):
    monkeypatch.chdir(run.parent)
    Path("file").write_text("w2\n")
    Path("empty").mkdir()
    Path("grid/runs").mkdir(parents=True)
    foreign(Path("thesis"))
    before = sorted(path.name for path in Path().iterdir())
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("evaluate: ") and message in error
    assert len(error.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == before


class Mine(PPO):
    """Somebody's own agent."""


def test_an_agent_of_somebody_else_is_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    Mine(gym.make_vec("RLHF-v0", num_envs=4, task=load_task("toy15"))).save(tmp_path / "agent")
    assert main([str(tmp_path / "agent"), "--task", "toy15"]) == 2
    assert "which 'Mine' wrote; load it in Python, by that class" in capsys.readouterr().err


def test_a_changed_file_is_named(run: Path, capsys: pytest.CaptureFixture):
    for checkpoint in (run / "checkpoints").iterdir():
        state = checkpoint / "state.json"
        state.write_text(state.read_text().replace('"PPO"', '"GRPO"'))
    assert main([str(run)]) == 2
    assert "the checksum of state.json differs" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_help_and_version_need_no_torch(command: str):
    code = (
        f"import sys, time; from studies.cli.commands.{command} import main\n"
        "start = time.process_time()\n"
        "assert main(['--version', '--task']) == 0\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules), 'heavy imports'"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("rlhf-env 0.1.0\n")
    assert "--episodes" in found.stdout


@pytest.mark.parametrize("words", [[], ["run", "--gama", "1"], ["run", "--episodes", "many"]])
def test_words_that_are_no_command_line_exit_with_2(words: list[str]):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_wins_are_counted_with_ties_half_and_wilson_s_interval():
    # Newcombe (1998), table I: 81 of 263 is 0.308 [0.2553, 0.3662], and 0 of 20 is [0, 0.1611].
    found = win_rate([1] * 81 + [0] * 182, [0] * 81 + [1] * 182)
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.30798, 0.2553, 0.3662), abs=5e-5
    )
    none = win_rate([0] * 20, [1] * 20)
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert win_rate([1, 2, 3, 4], [1, 2, 0, 9]).value == 0.5
    tie = win_rate([1.0, 1.0, 2.0], [1.0, 0.0, 1.0])
    assert tie.value == pytest.approx(2.5 / 3)
    # Wilson's lower end for 2 of 3, and upper for 3 of 3.
    assert (tie.low, tie.high) == pytest.approx((0.2077, 1.0), abs=5e-5)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = mean(rng.normal(3.0, 2.0, size=50))
        assert found.low is not None and found.high is not None
        hits += found.low <= 3.0 <= found.high
    assert 180 <= hits <= 199
    alone = mean([2.0])
    assert (alone.value, alone.low, alone.high, alone.count) == (2.0, None, None, 1)
    same = mean([2.0, 2.0, 2.0])
    assert (same.low, same.high) == (2.0, 2.0)
