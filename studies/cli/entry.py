"""The start of a command as a process of its own, before anything slow is imported."""

from __future__ import annotations

import importlib
from typing import NoReturn

from studies.cli.messages import interrupted
from studies.execution.interrupts import end, leave_on_signals


def launch(command: str, arguments: list[str] | None = None) -> NoReturn:
    """Run a command and end this process with its exit status.

    Args:
        command: a module of `studies.cli.commands`.
        arguments: the command line's words; those of the process by default.
    """
    leave_on_signals(interrupted(command))
    # Imported by name: Ctrl-C must end in one line also while the libraries are loaded.
    module = importlib.import_module(f"studies.cli.commands.{command}")
    end(module.main(arguments))
