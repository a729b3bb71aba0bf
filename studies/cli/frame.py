"""What all commands have in common: reading the command line, refusals, interrupts, exit status."""

from __future__ import annotations

import gc
import importlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import tyro

from agents.processes.group import count, is_spokesman
from studies.cli.messages import interrupted
from studies.cli.streams import accept_any_text
from studies.cli.version import is_version_asked
from studies.execution.failure import CommandFailed
from studies.execution.interrupts import STATUS as INTERRUPTED
from studies.execution.interrupts import raising
from studies.reporting.samples import printable

FAILED, REFUSED = 1, 2
VERSION_HELP = "--version prints the version and leaves."


def _accept(settings: Any) -> None:
    """Check nothing: all that can be wrong is seen when the work begins."""


def _begin_nothing(settings: Any) -> None:
    """Begin nothing before the session is imported."""


def _as_it_is(sentence: str) -> str:
    return sentence


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line.

    The exit status is 0 when all is done, 1 when work or writing failed, 2 for what cannot be
    used, 130 after Ctrl-C or SIGTERM.
    """

    name: str
    """As an error begins: a module of `studies.cli.commands`."""
    settings: Any
    """What the command line sets: a dataclass, or a type that tyro reads."""
    description: str
    """The first lines of ``--help``."""
    session: str
    """The module whose ``run(settings)`` does the work. It is imported when the command line is
    read, so that help and refusals do not wait for torch."""
    check: Callable[[Any], None] = _accept
    """Raises ValueError for settings that cannot be used, without any slow import."""
    begin: Callable[[Any], None] = _begin_nothing
    """Begins, for checked settings, what can go on while the session is imported."""
    spell: Callable[[str], str] = _as_it_is
    """Names settings in an error as the command line does."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings of options, such as those of earlier versions, and the present ones."""
    given_once: bool = False
    """Refuse an option that is given twice, of which only the last would count."""
    several_processes: bool = False
    """Whether a launcher may start it in several processes, which then share the work."""
    raises_interrupts: bool = True
    """Turn Ctrl-C and SIGTERM into KeyboardInterrupt during the work; otherwise the work itself
    says when they may."""


def run_command(command: Command, arguments: list[str] | None = None, **more: Any) -> int:
    """Read the command line, check it, and do the work.

    Args:
        command: which one.
        arguments: the command line's words; those of the process by default.
        **more: handed to the session's ``run``.

    Returns:
        The exit status.
    """
    words = respelled(sys.argv[1:] if arguments is None else arguments, command.aliases)
    accept_any_text()
    if is_version_asked(words):
        return 0
    try:
        if command.given_once:
            check_given_once(words)
        if count() > 1 and not command.several_processes:
            raise ValueError(
                f"{command.name} works in one process, got {count()} (WORLD_SIZE); start it with "
                "python instead of a launcher"
            )
        settings = tyro.cli(
            command.settings, args=words, description=f"{command.description}\n\n{VERSION_HELP}"
        )
        command.check(settings)
        command.begin(settings)
        session = _imported(command.session)
        with raising(command.raises_interrupts):
            return session.run(settings, **more) or 0
    except CommandFailed as failure:
        return _refuse(command, str(failure), failure.status)
    except ValueError as error:
        return _refuse(command, str(error), REFUSED)
    except OSError as error:
        return _refuse(command, f"cannot read or write: {error}", FAILED)
    except KeyboardInterrupt:
        if is_spokesman():
            print(interrupted(command.name), file=sys.stderr)
        return INTERRUPTED


def respelled(words: Sequence[str], aliases: Mapping[str, str]) -> list[str]:
    """Return the words of a command line with other spellings of options replaced.

    Args:
        words: of the command line; an option may be ``--option=value``.
        aliases: other spelling -> present one; "-" and "_" are the same.
    """
    found = []
    for word in words:
        option, is_assigned, value = word.partition("=")
        known = aliases.get(option.replace("_", "-"), option) if word[:2] == "--" else option
        found.append(f"{known}{is_assigned}{value}")
    return found


def check_given_once(words: Sequence[str]) -> None:
    """Refuse an option that is given twice, of which only the last would count.

    Raises:
        ValueError: with the option's name.
    """
    options = (word.partition("=")[0].replace("_", "-") for word in words if word[:2] == "--")
    for option, times in Counter(options).items():
        if times > 1:
            raise ValueError(
                f"{option} must be given once, got it {times} times; give all values after one "
                f"{option}"
            )


def _imported(module: str) -> ModuleType:
    """Import a module without looking for garbage meanwhile, a sixth of the time; there is none."""
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.enable()


def _refuse(command: Command, sentence: str, status: int) -> int:
    """Say in one line what was wrong, once for all processes, and return the exit status."""
    line = printable(command.spell(" ".join(sentence.split())))
    if is_spokesman():
        print(f"{command.name}: {line}", file=sys.stderr)
    return status
