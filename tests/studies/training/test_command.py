from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlhf_env.rewards.text_regression import TextRegressionReward
from studies.cli.commands.train import main
from studies.experiment.inputs import first_sentences
from studies.reporting.console import evaluation_table, print_samples
from studies.training.settings import spell
from tests.full_disk import files_of_at_most
from tests.toys import tiny_llama, tiny_tokenizer

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared/data"
QUICK = ["--episodes", "16", "--episodes-per-update", "8", "--eval-episodes", "8"]
TOY = ["--task", "toy15", "--samples", "1", *QUICK]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, prompts, ratings and rewards, good ones and bad ones."""
    monkeypatch.chdir(tmp_path)
    tiny_llama().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "no_model").mkdir()
    texts = [f"w{i} w{j}" for i in range(2, 12) for j in range(2, 12)]
    rows = [{"text": text, "mean": 1.0 - 2.0 * ("w3" in text)} for text in texts]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "prompts.txt").write_text("\n".join(texts))
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "long.txt").write_text(f"{'w2 ' * 70}\n{'w3 ' * 80}\n")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "gaps.jsonl").write_text('{"text": "w2"}\n{"text": null}\n')
    (tmp_path / "nan.jsonl").write_text('{"text": "w2", "mean": 1}\n{"text": "w3", "mean": NaN}\n')
    (tmp_path / "rewards.py").write_text(
        "from pathlib import Path\n"
        "def longest(prompts, responses):\n"
        "    return [float(len(text)) for text in responses]\n"
        "def one_short(prompts, responses):\n"
        "    return [0.0] * (len(responses) - 1)\n"
        "def broken(prompts, responses):\n"
        "    raise KeyError('oh')\n"
        "def of_one_list(texts):\n"
        "    return [0.0] * len(texts)\n"
        "calls = []\n"
        "def stopped(prompts, responses):\n"
        "    calls.append(1)\n"
        "    if Path('stop').exists() and len(calls) > 8:\n"
        "        raise KeyboardInterrupt\n"
        "    return longest(prompts, responses)\n"
    )
    return tmp_path


def model_run(*more: str) -> list[str]:
    words = ["--model", "model", "--prompts", "prompts.txt", "--max-new-tokens", "4"]
    return [*words, *QUICK, "--out", "out", *more]


def made(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_built_in_task_is_trained_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "run"
    assert main([*TOY, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "before training" in shown and "after training" in shown and "score" in shown
    assert {"evaluation.json", "metrics.jsonl", "samples.jsonl", "settings.json"} <= set(made(out))
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["before"]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert evaluation["after"]["kl_exact"] > 0.0
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [sample["stage"] for sample in samples] == ["before", "after"]
    assert samples[0]["prompt"] == samples[1]["prompt"]
    assert len(samples[0]["reward_terms"]["score"]) == len(samples[0]["tokens"])
    # The untrained policy is the reference, so that it pays no KL.
    assert samples[0]["reward_terms"]["kl"] == pytest.approx(
        [0.0] * len(samples[0]["tokens"]), abs=1e-5
    )
    assert json.loads((out / "settings.json").read_text())["agent"] == "ppo"


@pytest.mark.parametrize(
    "words",
    [
        ["--agent", "grpo", "--group-size", "4", "--granularity", "bandit"],
        ["--density", "every_2", "--granularity", "macro_2", "--gae-lambda", "0.5"],
        ["--density", "prefix_difference", "--gamma", "0.9"],
        ["--density", "potential", "--kl-coef", "0.3", "--learning-rate", "0.01"],
    ],
)
def test_agents_densities_and_granularities_combine(tmp_path: Path, words: list[str]):
    assert main([*TOY, *words, "--out", str(tmp_path / "run")]) == 0


def test_the_same_command_again_says_finished_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    command = [*TOY, "--out", str(tmp_path / "run")]
    assert main(command) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(command) == 0
    assert "finished already" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_finished_run_is_shown_from_a_disk_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    words = [*TOY, "--out", str(tmp_path / "run")]
    assert main(words) == 0
    capsys.readouterr()

    def read_only(**arguments: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    # Permissions do not stop root.
    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert main(words) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([*words, "--episodes", "32"]) == 2
    assert "--out must be writable" in capsys.readouterr().err


def test_more_episodes_continue_a_run_as_if_it_had_not_stopped(tmp_path: Path):
    straight, twice = tmp_path / "straight", tmp_path / "twice"
    assert main([*TOY, "--out", str(twice)]) == 0
    for out in (straight, twice):
        assert main([*TOY, "--out", str(out), "--episodes", "32"]) == 0
    assert (straight / "evaluation.json").read_bytes() == (twice / "evaluation.json").read_bytes()


@pytest.mark.parametrize(
    ("words", "size"), [([*TOY, "--out", "out"], 600), ([*TOY, "--out", "out"], 900), (None, 9000)]
)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    files: Path, capsys: pytest.CaptureFixture, words: list[str] | None, size: int
):
    """It meets the settings, the log, or a checkpoint."""
    words = words or model_run("--reward", "rewards.py:longest")
    with files_of_at_most(size):
        assert main(words) == 1
    told = capsys.readouterr().err.split("update/s")[-1].partition("train:")[2]
    assert re.fullmatch(r" cannot write to out: .* too large.*\n", told), told
    assert main(words) == 0


def test_a_folder_with_other_settings_is_refused_by_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    command = [*TOY, "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert main([*command, "--gamma", "0.5"]) == 2
    assert "another: gamma is 1.0 there and 0.5 here" in capsys.readouterr().err


def test_a_reward_is_learned_from_ratings(files: Path, capsys: pytest.CaptureFixture):
    assert main(model_run("--prompts", "rows.jsonl", "--ratings", "rows.jsonl")) == 0
    shown = capsys.readouterr().out
    assert "held-out texts: r = " in shown and "right sign" in shown
    assert (files / "out/reward.safetensors").is_file()
    assert json.loads((files / "out/evaluation.json").read_text())["reward"]["texts"] >= 4


def test_a_file_changed_since_is_refused(files: Path, capsys: pytest.CaptureFixture):
    assert main(model_run("--reward", "rewards.py:longest")) == 0
    with (files / "prompts.txt").open("a") as file:
        file.write("\nw9")
    assert main(model_run("--reward", "rewards.py:longest")) == 2
    assert "another: digests is" in capsys.readouterr().err


def test_an_interrupted_run_ends_in_one_line_and_goes_on_the_same(
    files: Path, capsys: pytest.CaptureFixture
):
    command = model_run("--reward", "rewards.py:stopped")
    (files / "stop").touch()
    assert main(command) == 130
    error = capsys.readouterr().err
    assert "train: interrupted; what is saved is kept, the same command continues" in error
    assert "Traceback" not in error
    (files / "stop").unlink()
    assert main(command) == 0
    assert main([*command, "--out", "straight"]) == 0
    resumed, straight = (files / name / "evaluation.json" for name in ("out", "straight"))
    assert resumed.read_bytes() == straight.read_bytes()


REFUSED = [
    (["--task", "revews"], "did you mean 'reviews'"),
    (["--agent", "pppo"], "did you mean 'ppo'"),
    (["--agent", "json:loads"], "agent 'json:loads' must be made with the environments"),
    (["--density", "terminl"], "did you mean 'terminal'"),
    (["--granularity", "tokens"], "did you mean 'token'"),
    (["--granularity", "macro_0"], "got 'macro_0'"),
    (["--gamma", "1.2"], "--gamma must be a number from 0 to 1, got 1.2"),
    (["--gamma", "nan"], "--gamma must be a number from 0 to 1, got nan"),
    (["--gae-lambda", "-0.1"], "--gae-lambda must be"),
    (["--agent", "grpo", "--gae-lambda", "0.9"], "--gae-lambda is not a setting of grpo"),
    (["--group-size", "4"], "--group-size is not a setting of ppo"),
    (["--agent", "grpo", "--group-size", "3"], "choose one of 2, 4, 8"),
    (["--agent", "grpo", "--group-size", "1"], "--group-size must be a whole number of at least 2"),
    (["--episodes", "0"], "--episodes must be a whole number of at least 1, got 0"),
    (["--episodes-per-update", "-8"], "--episodes-per-update must be"),
    (["--eval-episodes", "0"], "--eval-episodes must be"),
    (["--learning-rate", "-1"], "--learning-rate must be a finite number >= 0, got -1"),
    (["--learning-rate", "inf"], "--learning-rate must be"),
    (["--kl-coef", "-0.1"], "--kl-coef must be"),
    (["--seed", "-1"], "--seed must be"),
    (["--samples", "-1"], "--samples must be"),
    (
        ["--episodes-per-update", "30"],
        "a multiple of 4 for ppo, which takes 4 steps per pass, got 30",
    ),
    (["--episodes-per-update", "30"], "; choose 28 or 32"),
    (["--episodes-per-update", "3"], "; choose 4"),
    (["--agent", "pppo"], "did you mean 'ppo'?"),
    (["--task", "toy1"], "--task must be one of"),
    (["--out", "dangling"], "is a broken link; remove the link or name another folder"),
    (["--out", "dangling/run"], "is a broken link"),
    (["--out", "/proc/run"], "--out must be writable, got '/proc/run'"),
    (["--out", "x" * 300], "--out must be writable"),
    (["--max-new-tokens", "0"], "--max-new-tokens must be"),
    (["--every-k", "0"], "--every-k must be"),
    (
        ["--every-k", "2"],
        "--every-k goes with the density every_k, got 2 with terminal; leave it out, or choose the "
        "density every_k or every_2",
    ),
    (["--every-k", "2", "--density", "every_3"], "every_k, got 2 with every_3; leave it out"),
    (["--ratings", "rows.jsonl"], "--ratings goes with --model"),
    (["--out", "prompts.txt"], "--out must be a folder"),
    (["--out", "prompts.txt/run"], "--out must be a folder"),
    (["--out", "model"], "--out must be empty or hold this run"),
    (["--model", "model"], "--task and --model exclude each other"),
]
MODEL_REFUSED = [
    ([], "--model needs one of --ratings and --reward, got none"),
    (["--ratings", "rows.jsonl", "--reward", "rewards.py:longest"], "got both"),
    (["--reward", "rewards.py:longest", "--model", "./nowhere"], "got './nowhere', which is no f"),
    (["--reward", "rewards.py:longest", "--model", "no_model"], "which holds none"),
    (["--reward", "rewards.py:longest", "--model", "rows.jsonl"], "which is a file"),
    (["--reward", "rewards.py:longest", "--prompts", "none.txt"], "which is no file"),
    (["--reward", "rewards.py:longest", "--prompts", "model"], "which is a folder"),
    (["--reward", "rewards.py:longest", "--prompts", "empty.txt"], "the empty 'empty.txt'"),
    (["--reward", "rewards.py:longest", "--prompts", "gaps.jsonl"], "row 2 of 'gaps.jsonl'"),
    (["--reward", "rewards.py:longest", "--prompts", "rewards.py"], ".jsonl"),
    (
        ["--reward", "rewards.py:longest", "--prompts", "rows.jsonl", "--prompt-field", "txt"],
        "column 'txt', got ['mean', 'text']; name yours by --prompt-field",
    ),
    (
        ["--ratings", "rows.jsonl", "--prompts", "long.txt"],
        "shortest has 70; give --prompt-sentences 1 or --max-prompt-tokens 70 or more",
    ),
    (
        ["--ratings", "rows.jsonl", "--prompts", "long.txt", "--prompt-sentences", "1"],
        "shortest has 70; give --max-prompt-tokens 70 or more",
    ),
    (["--reward", "rewards.py:longest", "--prompt-sentences", "0"], "--prompt-sentences must"),
    (["--reward", "rewards.py:longst"], "did you mean 'longest'"),
    (["--reward", "nowhere.py:f"], "there is no file 'nowhere.py'"),
    (["--reward", "no.such.module:f"], "ModuleNotFoundError"),
    (["--reward", "rewards.py:of_one_list"], "two lists of texts"),
    (["--reward", "rewards.py:one_short"], "must return 2 finite numbers"),
    (["--reward", "rewards.py:broken"], "got KeyError"),
    (
        ["--ratings", "rows.jsonl", "--ratings-value", "stars"],
        "got ['mean', 'text']; name yours by --ratings-text and --ratings-value",
    ),
    (["--ratings", "nan.jsonl"], "row 2 of the ratings must have a finite number, got nan"),
    (["--ratings", "prompts.txt"], "--ratings"),
    (["--ratings", "none.jsonl"], "--ratings must be an existing file"),
]


@pytest.mark.parametrize(
    ("words", "message"),
    [([*TOY, "--out", "out", *words], message) for words, message in REFUSED]
    + [(model_run(*words), message) for words, message in MODEL_REFUSED],
    ids=[" ".join(words) or "no reward" for words, _ in REFUSED + MODEL_REFUSED],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_is_made(
    files: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
):
    before = made(files)
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("train: ") and message in error
    assert made(files) == before


@pytest.mark.parametrize("words", [["--gama", "1"], ["--episodes", "many"], ["--gamma"]])
def test_words_that_are_no_options_exit_with_2(words: list[str]):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_help_needs_no_torch_and_no_time():
    code = (
        "import sys, studies.cli.commands.train\n"
        "try:\n    studies.cli.commands.train.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert "--prompt-sentences" in done.stdout
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 1.0


@pytest.mark.parametrize(
    ("text", "count", "start"),
    [
        ("One day. Two. Three.", 1, "One day."),
        ("One day. Two. Three.", 2, "One day. Two."),
        ("  Padded!\nNext one.", 1, "Padded!"),
        ('"Hi!" she said. Then', 1, '"Hi!"'),
        ("It cost 2.50 dollars. Cheap", 1, "It cost 2.50 dollars."),
        ("No end at all ", 1, "No end at all"),
        ("Only one.", 3, "Only one."),
        ("What?! Yes.", 1, "What?!"),
    ],
)
def test_first_sentences(text: str, count: int, start: str):
    assert first_sentences(text, count) == start


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("kl_coef must be a number", "--kl-coef must be a number"),
        ("gamma must be a number", "--gamma must be a number"),
        ("the task of max_new_tokens = 4", "the task of --max-new-tokens = 4"),
        ("no gamma is in 'kl_coef.txt'", "no gamma is in 'kl_coef.txt'"),
        ("--kl-coef must be", "--kl-coef must be"),
    ],
)
def test_settings_are_named_as_they_are_typed(sentence: str, expected: str):
    assert spell(sentence) == expected


def test_prompts_are_looked_at_before_a_reward_is_learned(
    files: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(TextRegressionReward, "fit", lambda *_: pytest.fail("it was learned"))
    assert main(model_run("--prompts", "long.txt", "--ratings", "rows.jsonl")) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1


def python_blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_code_of_the_reviews_page_runs():
    (code,) = python_blocks("reviews.md")
    found: dict[str, Any] = {}
    exec(code, found)
    task, prompts, responses = found["task"], found["prompts"], found["responses"]
    assert task.decode(prompts[0]) == "pizza taste negative :"
    assert not any((response == task.tokenizer.unk_token_id).any() for response in responses)
    right, wrong = task.gold(prompts, responses).tolist()
    assert right > wrong


def test_the_code_of_the_training_page_runs(files: Path):
    use, own, truth = python_blocks("train-your-model.md")
    assert (
        main(model_run("--ratings", "rows.jsonl", "--episodes", "8", "--out", "runs/stories")) == 0
    )
    (files / "model").rename(files / "my-model")
    found: dict[str, Any] = {}
    exec(use, found)
    assert found["task"].name == "my-model"
    exec(own, found)
    assert found["score"](["a", "b"], ["so happy", "sad"]) == [1.0, 0.0]
    exec(truth, found)
    assert found["correct"](["a", "b"], ["4", "5"], answer=["4", "4"], level=[1, 2]) == [1.0, 0.0]


def test_what_a_model_wrote_cannot_steer_the_terminal():
    episode = {
        "prompt": "red \x1b[31m[bold]",
        "response": "bell\x07\n\x9b2J",
        "stage": "before",
        "score": 1.0,
        "finish_reason": "length",
    }
    written = io.StringIO()
    print_samples(Console(file=written, width=200), [[episode]])
    assert "> red \\x1b[31m[bold]" in written.getvalue()
    assert "before (score +1.00): bell\\x07\\n\\x9b2J …" in written.getvalue()


def test_the_table_puts_before_and_after_side_by_side():
    written = io.StringIO()
    stages = {
        "before": {"score": -0.5, "eos_rate": 0.25, "kl": 0.0},
        "after": {"score": 1.25, "eos_rate": 1.0, "kl": -0.0001},
    }
    Console(file=written, width=120).print(evaluation_table(stages))
    lines = [line.split() for line in written.getvalue().splitlines()]
    assert ["score", "-0.500", "1.250"] in lines
    assert next(line for line in lines if line[0] == "KL")[-2:] == ["0.000", "0.000"]
    assert lines[-1][-2:] == ["25%", "100%"]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real model and data are not here")
def test_a_real_model_learns_to_please_real_raters(tmp_path: Path):
    words = [
        *("--model", str(SHARED / "stories260k"), "--prompt-sentences", "1"),
        *("--prompts", str(SHARED / "tinystories_sample/train.jsonl.gz")),
        *("--ratings", str(SHARED / "sentiment_ratings/train.jsonl.gz")),
        *("--max-new-tokens", "24", "--episodes", "640", "--out", str(tmp_path / "run")),
    ]
    assert main(words) == 0
    evaluation = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert evaluation["after"]["score"] > evaluation["before"]["score"] + 0.1
    assert evaluation["after"]["kl_exact"] > 0.0
