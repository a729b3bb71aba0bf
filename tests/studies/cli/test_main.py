"""The command ``rlhf-env``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import studies.cli.commands
from studies.cli import main as cli

ROOT = Path(__file__).parents[3]


def rlhf_env(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from studies.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )


def test_every_command_has_a_subcommand_and_a_script() -> None:
    folder = Path(studies.cli.commands.__path__[0])
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {module for module, _ in cli.SUBCOMMANDS.values()} == modules
    assert modules <= {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for name, (module, _) in cli.SUBCOMMANDS.items():
        assert name == module.replace("_", "-")


def test_help_lists_all_and_imports_nothing_slow() -> None:
    code = (
        "import sys, studies.cli.main\n"
        "sys.argv = ['rlhf-env', '--help']\n"
        "try:\n    studies.cli.main.main()\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print({'torch', 'tyro', 'pandas', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    for name in cli.SUBCOMMANDS:
        assert f"\n  {name} " in done.stdout


def test_nothing_named_is_the_help_and_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rlhf-env"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().out.startswith("usage: rlhf-env")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("ablat", "rlhf-env: there is no subcommand 'ablat'; did you mean ablate?\n"),
        (
            "xyz",
            "rlhf-env: there is no subcommand 'xyz'; choose from train, ablate, report, gains, "
            "evaluate, compare, export, check, train-reward, label, rounds, overoptimization, "
            "early-warning, preference, variance, estimators, critics, credit, scaling, "
            "value-learning, zoo, reward-report\n",
        ),
    ],
)
def test_an_unknown_subcommand_is_one_sentence(
    typed: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["rlhf-env", typed])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("typed", ["train-reward", "train_reward"])
def test_a_subcommand_gets_its_own_words(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(cli, "launch", lambda module: launched.append((module, list(sys.argv))))
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rlhf-env", typed, "--data", "a.jsonl"])
    cli.main()
    assert launched == [("train_reward", ["rlhf-env train-reward", "--data", "a.jsonl"])]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["report", "--help"], ["report", "missing"], ["report", "--x"]])
def test_it_does_what_the_script_does(words: list[str]) -> None:
    script = ROOT / "scripts" / f"{words[0]}.py"
    ours = rlhf_env(*words)
    theirs = subprocess.run(
        [sys.executable, str(script), *words[1:]], capture_output=True, text=True, check=False
    )
    assert ours.returncode == theirs.returncode

    def plain(text: str) -> str:
        """Without the command's name and the boxes, whose width depends on it."""
        text = re.sub(r"\S*report\.py|rlhf-env report", "COMMAND", text)
        return " ".join(re.sub("[╭╮╰╯─│]", " ", text).split())

    assert plain(ours.stdout) == plain(theirs.stdout)
    assert plain(ours.stderr) == plain(theirs.stderr)


def test_a_core_installation_names_the_extra() -> None:
    code = (
        "import sys\n"
        "sys.modules['tyro'] = None\n"
        "sys.argv = ['rlhf-env', 'train']\n"
        "from studies.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "train: this needs the package tyro, which is not installed; "
        "run: pip install 'rlhf-env[studies]'\n"
    )
