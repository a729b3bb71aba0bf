from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from studies.cli.frame import Command, respelled, run_command
from studies.cli.messages import INTERRUPTED
from studies.execution.failure import CommandFailed

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a command that fails as it is told."""

    kl_coef: float = 0.1
    """A number."""


def make_command(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None, status: int | None = None
) -> Command:
    def run(settings: Settings) -> int | None:
        if error is not None:
            raise error
        return status

    session = ModuleType("toy_session")
    session.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_session", session)
    return Command(
        name="train",
        settings=Settings,
        description="Fail.",
        session="toy_session",
        spell=lambda sentence: sentence.replace("kl_coef", "--kl-coef"),
        aliases={"--beta": "--kl-coef"},
        given_once=True,
    )


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("kl_coef must\n  be small"), 2, "train: --kl-coef must be small\n"),
        (OSError("disk full"), 1, "train: cannot read or write: disk full\n"),
        (CommandFailed("it failed"), 1, "train: it failed\n"),
        (CommandFailed("label them", 3), 3, "train: label them\n"),
        (KeyboardInterrupt(), 130, f"train: interrupted; {INTERRUPTED['train']}\n"),
    ],
)
def test_every_end_is_one_line_and_a_status(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(make_command(monkeypatch, error), []) == status
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_the_works(
    returned: int | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(make_command(monkeypatch, status=returned), []) == status


def test_a_terminal_gets_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(make_command(monkeypatch, ValueError("\x1b[31mred")), []) == 2
    assert capsys.readouterr().err == "train: \\x1b[31mred\n"


def test_an_option_given_twice_is_refused_under_any_spelling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = make_command(monkeypatch)
    assert run_command(command, ["--kl-coef", "1", "--kl_coef", "2"]) == 2
    assert "--kl-coef must be given once, got it 2 times" in capsys.readouterr().err
    assert run_command(command, ["--beta", "1", "--kl-coef=2"]) == 2


def test_words_are_respelled_whole() -> None:
    aliases = {"--fitting.batch-size": "--proxy-batch-size"}
    words = ["--fitting.batch_size=4", "--fitting.batch-size", "--fitting", "a=b", "-1"]
    expected = ["--proxy-batch-size=4", "--proxy-batch-size", "--fitting", "a=b", "-1"]
    assert respelled(words, aliases) == expected


def test_a_signal_before_the_work_ends_in_one_line() -> None:
    """Seen with the libraries still being imported: no traceback."""
    code = (
        "import os, signal, sys; from studies.cli import entry\n"
        "def late(name): os.kill(os.getpid(), signal.SIGTERM)\n"
        "entry.importlib.import_module = late\n"
        "entry.launch('rounds')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    line = f"rounds: interrupted; {INTERRUPTED['rounds']}\n"
    assert (answer.returncode, answer.stderr) == (130, line)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_help_needs_no_torch() -> None:
    """All commands in one process, so that the libraries are looked for once."""
    names = sorted(path.stem for path in (ROOT / "studies/cli/commands").glob("[a-z]*.py"))
    assert names == sorted(INTERRUPTED)
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    try: importlib.import_module(f'studies.cli.commands.{name}').main(['--help'])\n"
        "    except SystemExit as end: assert end.code == 0, name\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("--version prints the version") == len(names)


def test_an_interrupted_command_promises_no_file() -> None:
    """It may have been stopped before there was a folder, or a checkpoint in it."""
    for sentence in INTERRUPTED.values():
        assert "checkpoint" not in sentence and "OUT" not in sentence
