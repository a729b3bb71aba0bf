"""The entry point of a command in its own process, before anything slow is imported."""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

from studies.cli.messages import interrupted
from studies.execution.interrupts import end, leave_on_signals
from studies.execution.threads import own_process, wait_considerately

# Of the extra `studies`, which brings the extra `rewards` too.
PACKAGES = ("tyro", "rich", "pandas", "matplotlib", "PIL", "jinja2", "markupsafe")
SHARED = ("pyarrow", "scipy", "sklearn")
UNUSABLE = 2


def launch(command: str, arguments: list[str] | None = None) -> NoReturn:
    """Run a command and end this process with its exit status.

    Args:
        command: a module of `studies.cli.commands`.
        arguments: the command line's words; those of the process by default.
    """
    # Of several processes that a launcher started the first one says it.
    is_first = os.environ.get("RANK", "0") == "0"
    leave_on_signals(interrupted(command) if is_first else "")
    wait_considerately()
    own_process()
    # Imported by name: Ctrl-C must end in one line also while the libraries are loaded.
    extras = importlib.import_module("rlhf_env.extras")
    try:
        extras.require("studies", *PACKAGES, *SHARED)
    except ValueError as missing:
        print(f"{command}: {missing}", file=sys.stderr)
        end(UNUSABLE)
    module = importlib.import_module(f"studies.cli.commands.{command}")
    end(module.main(arguments))
