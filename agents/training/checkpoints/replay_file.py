"""The old episodes in a checkpoint: their buffer's settings in state.json, and their file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from agents.replay.buffer import Replay
from agents.replay.rows import fields_of, from_fields
from agents.training.checkpoints.checkpoint_files import (
    REPLAY_FILE,
    load_tensors,
    save_tensors,
    unreadable,
)

# JSON has no infinity.
_INFINITE = "inf"
_BORN = "born"


def write_replay(replay: Replay | None, folder: Path) -> dict[str, Any] | None:
    """Write an agent's buffer, if it has one, and return what state.json says of it."""
    if replay is None:
        return None
    stored = {} if replay.episodes is None else fields_of(replay.episodes)
    save_tensors({**stored, _BORN: replay.born}, folder / REPLAY_FILE)
    return _as_json(replay)


def read_replay(replay: Replay | None, folder: Path, state: dict[str, Any]) -> None:
    """Fill an agent's buffer with the episodes of a checkpoint.

    Args:
        replay: the agent's.
        folder: a complete checkpoint.
        state: its state.json.

    Raises:
        ValueError: if only one of the two has a buffer, their settings differ, or the file does
            not hold one.
    """
    _check_same(replay, folder, state)
    if replay is None:
        return
    tensors = load_tensors(folder / REPLAY_FILE)
    try:
        born = tensors.pop(_BORN)
        replay.put(from_fields(tensors) if tensors else None, born)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(folder / REPLAY_FILE) from error


def saved_replay(state: dict[str, Any]) -> Replay | None:
    """Return an empty buffer with the settings of a checkpoint's, if it has one."""
    saved = state.get("replay")
    return None if saved is None else Replay(**{**saved, "ratio": float(saved["ratio"])})


def _check_same(replay: Replay | None, folder: Path, state: dict[str, Any]) -> None:
    """Raise ValueError unless an agent's buffer has the settings of the checkpoint's."""
    saved = state.get("replay")
    own = None if replay is None else _as_json(replay)
    if saved == own:
        return
    if saved is None or own is None:
        had, has = ("a", "none") if own is None else ("no", "one")
        raise ValueError(
            f"{str(folder)!r} was made with {had} replay, got an agent with {has}; make the agent "
            "with the same replay= to go on, or use another folder"
        )
    name = next(name for name in own if own[name] != saved.get(name))
    raise ValueError(
        f"{str(folder)!r} was made with a replay of {name} = {saved.get(name)!r}, got "
        f"{own[name]!r}; use the same settings to go on, or another folder"
    )


def _as_json(replay: Replay) -> dict[str, Any]:
    settings = replay.settings
    return settings | {"ratio": _INFINITE} if replay.ratio == math.inf else settings
