"""The work of `scripts/train.py`: read, check, claim the folder, train."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from agents.processes.exchange import ProcessLostError, on_first, together
from agents.processes.group import is_first, join, leave
from studies.execution.failure import CommandFailed
from studies.experiment.custom_checks import check_custom_parts
from studies.experiment.inputs import TaskInputs, read_inputs
from studies.results.folder import TRAIN, why_not
from studies.results.run_folder import check_folder, check_writable
from studies.training import session
from studies.training.assembly import assemble
from studies.training.finished import show_finished
from studies.training.preferences import training_preferences
from studies.training.replay import replay_digests
from studies.training.rollout_workers import rollout_workers
from studies.training.settings import Settings


def run(settings: Settings) -> None:
    """Check everything before anything is loaded or made, then build and train.

    Raises:
        ValueError: if something cannot be used.
        CommandFailed: if training or writing failed, or another process of the run died.
    """
    try:
        join(settings.learning.device)
        _run(settings)
        leave()
    except ProcessLostError as error:
        raise CommandFailed(str(error)) from error


def _run(settings: Settings) -> None:
    inputs = together(lambda: inputs_of(settings))
    preferences = together(lambda: training_preferences(settings.learning))
    digests = (inputs.digests if inputs else {}) | (preferences.digests if preferences else {})
    digests |= together(lambda: replay_digests(settings.learning))
    asked = settings.to_json() | {"digests": digests}
    console = Console(highlight=False, soft_wrap=True, quiet=not is_first())
    if on_first(lambda: is_finished(settings, asked, console)):
        return
    if inputs is not None:
        model, own = settings.problem.model or "", settings.problem.own
        together(lambda: check_custom_parts(model, own, inputs))
    assembly = together(lambda: assemble(settings, inputs, preferences, console))
    try:
        with rollout_workers(settings, inputs, assembly.agent, assembly.envs):
            session.run(settings, assembly, asked, console)
    except ProcessLostError:
        raise
    except ConnectionError as error:
        raise CommandFailed(f"--ray-workers: {error}") from error
    except ValueError as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"cannot write to {settings.out}: {error}") from error


def is_finished(settings: Settings, asked: Mapping[str, object], console: Console) -> bool:
    """Check the folder of the results; show them and return True where there is nothing to do.

    Raises:
        ValueError: if the folder cannot be used.
    """
    check_folder(settings.out, asked, TRAIN)
    if show_finished(settings, console):
        return True
    check_writable(settings.out)
    return False


def inputs_of(settings: Settings) -> TaskInputs | None:
    """Return prompts and reward of a model; None for a built-in task.

    Raises:
        ValueError: if they cannot be used.
    """
    if not settings.problem.model:
        return None
    try:
        return read_inputs(settings.problem.own)
    except OSError as error:
        raise ValueError(f"the task's files must be readable, got: {why_not(error)}") from error
