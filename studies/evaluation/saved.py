"""Finding a saved agent in a folder, and what it was trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agents
from agents.training.checkpoints.checkpoint_files import find_corruption
from rlhf_env.files import read_json
from studies.experiment.agent_names import is_custom
from studies.experiment.task.spec import Problem
from studies.results.folder import read_settings
from studies.results.run_folder import WORKING_FOLDER
from studies.training.settings import Settings

CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A saved agent that was found."""

    folder: Path
    """As it was named."""
    checkpoint: Path
    """What ``agent.save`` wrote."""
    agent: str
    """The class that wrote it: a name in `agents`, or the ``module:Class`` of the run."""
    run: Settings | None
    """The settings of the training run that it comes from; None where no run is known."""
    digests: dict[str, str]
    """SHA-256 of the files which that run read, by option."""


def find_saved(folder: Path) -> Saved:
    """Return the agent that a folder holds; of a training run the newest whole checkpoint.

    Raises:
        ValueError: if there is none, or it is damaged.
    """
    checkpoint = _checkpoint(folder)
    run_folder = folder if checkpoint != folder else folder.absolute().parent.parent
    fields = read_settings(run_folder) if (run_folder / CHECKPOINTS).is_dir() else {}
    run = _run(fields, run_folder) if fields else None
    own = None if run is None or not is_custom(run.learning.agent) else run.learning.agent
    return Saved(
        folder=folder,
        checkpoint=checkpoint,
        agent=_agent(checkpoint) if own is None else own,
        run=run,
        digests=dict(fields.get("digests", {})),
    )


def _checkpoint(folder: Path) -> Path:
    expected = "the folder must hold an agent that agent.save or scripts/train.py wrote"
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        raise ValueError(f"{expected}, got {folder} where there is {got}; correct the path")
    if (folder / MANIFEST).is_file():
        _check_whole(folder)
        return folder
    if (folder / "runs").is_dir():
        raise ValueError(
            f"{expected}, got the ablation {folder}, whose agents are not kept; train the one of "
            "interest by scripts/train.py"
        )
    found = sorted((folder / CHECKPOINTS).glob("update-*"))
    if not found:
        judged = folder / "evaluation.json"
        hint = f"; what an agent that is not saved reached is in {judged}"
        raise ValueError(
            f"{expected}, got {folder} without {MANIFEST} or {CHECKPOINTS}"
            f"{hint if judged.is_file() else ''}"
        )
    for path in reversed(found[1:]):
        if find_corruption(path) is None:
            return path
    _check_whole(found[0])
    return found[0]


def _check_whole(checkpoint: Path) -> None:
    if (flaw := find_corruption(checkpoint)) is not None:
        raise ValueError(
            f"the folder must hold an undamaged agent, got {checkpoint}: {flaw}; use another"
        )


def _agent(checkpoint: Path) -> str:
    described = STATE if (checkpoint / STATE).is_file() else MANIFEST
    name = str(read_json(checkpoint / described)["agent"])
    kind = getattr(agents, name, None) if name in agents.__all__ else None
    # The package also names its modules, such as "math".
    if not (isinstance(kind, type) and issubclass(kind, agents.Agent | agents.BestOfN)):
        raise ValueError(
            f"the folder must hold an agent of this project, got {checkpoint}, which {name!r:.60} "
            "wrote; load it in Python, by that class"
        )
    return name


def _run(fields: dict[str, Any], folder: Path) -> Settings:
    try:
        settings = Settings.from_json(fields, folder)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / 'settings.json'} must be of scripts/train.py, got one without {error}; put "
            "the file back"
        ) from error
    begun_in = fields.get(WORKING_FOLDER)
    if not isinstance(begun_in, str):
        return settings
    return dataclasses.replace(settings, problem=found_from(settings.problem, Path(begun_in)))


def found_from(problem: Problem, begun_in: Path) -> Problem:
    """Return a problem whose files are found from the folder that a run was begun in.

    A path that exists relative to the current folder is left unchanged.

    Args:
        problem: with paths as they were typed.
        begun_in: where they were typed.
    """
    own, model = problem.own, problem.model
    if model is not None and not Path(model).exists() and (begun_in / model).is_dir():
        model = str(begun_in / model)
    paths = {
        name: _found(path, begun_in)
        for name, path in (("prompts", own.prompts), ("ratings", own.ratings))
        if path is not None
    }
    reward = own.reward
    if reward is not None:
        file, colon, name = reward.rpartition(":")
        if file.endswith(".py"):
            reward = f"{_found(Path(file), begun_in)}{colon}{name}"
        elif not colon:
            reward = str(_found(Path(reward), begun_in))
    own = dataclasses.replace(own, **paths, reward=reward)
    return dataclasses.replace(problem, model=model, own=own)


def _found(path: Path, begun_in: Path) -> Path:
    return begun_in / path if not path.exists() and (begun_in / path).exists() else path
