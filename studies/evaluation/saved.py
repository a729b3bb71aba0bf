"""Finding a saved agent in a folder, and what it was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agents
from agents.training.checkpoint import find_corruption
from studies.results.folder import read_settings
from studies.training.settings import Settings

CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A saved agent that was found.

    Attributes:
        folder: as it was named.
        checkpoint: what ``agent.save`` wrote.
        agent: the class that wrote it.
        run: the settings of the training run that it comes from; None where no run is known.
        digests: SHA-256 of the files which that run read, by option.
    """

    folder: Path
    checkpoint: Path
    agent: str
    run: Settings | None
    digests: dict[str, str]


def find_saved(folder: Path) -> Saved:
    """Return the agent that a folder holds; of a training run the newest whole checkpoint.

    Raises:
        ValueError: if there is none, or it is damaged.
    """
    checkpoint = _checkpoint(folder)
    run_folder = folder if checkpoint != folder else folder.absolute().parent.parent
    fields = read_settings(run_folder) if (run_folder / CHECKPOINTS).is_dir() else {}
    return Saved(
        folder=folder,
        checkpoint=checkpoint,
        agent=_agent(checkpoint),
        run=_run(fields, run_folder) if fields else None,
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
        raise ValueError(f"{expected}, got {folder} without {MANIFEST} or {CHECKPOINTS}")
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
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    name = str(state["agent"])
    kind = getattr(agents, name, None) if name in agents.__all__ else None
    # The package also names its modules, such as "math".
    if not (isinstance(kind, type) and issubclass(kind, agents.Agent)):
        raise ValueError(
            f"the folder must hold an agent of this project, got {checkpoint}, which {name!r:.60} "
            "wrote; load it in Python, by that class"
        )
    return name


def _run(fields: dict[str, Any], folder: Path) -> Settings:
    try:
        return Settings.from_json(fields, folder)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / 'settings.json'} must be of scripts/train.py, got one without {error}; put "
            "the file back"
        ) from error
