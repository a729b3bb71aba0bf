"""Names of the files that commands write, and the settings that a folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_env.files import read_json

SETTINGS = "settings.json"
RECORDS = "runs"
RESULTS = "results.csv"
CURVES = "curves.csv"
FRONTIER = "frontier.csv"
SAMPLES = "samples.jsonl"
REPORT = "report.html"
HORIZONS = "horizons.csv"
EVENTS = "tensorboard"
MAX_SHOWN = 100
ABLATE = "scripts/ablate.py"
TRAIN = "scripts/train.py"
ROUNDS = "scripts/rounds.py"
# What only the settings of one command have.
OWN_SETTINGS = {
    ABLATE: {"seeds", "updates"},
    TRAIN: {"episodes", "samples"},
    ROUNDS: {"pairs_per_round", "reward_epochs"},
}


def read_settings(folder: Path) -> dict[str, Any]:
    """Return ``settings.json``; empty if there is none.

    Raises:
        ValueError: if it holds something else, or is not a file.
    """
    path = folder / SETTINGS
    expected = f"{path} must hold the grid's settings as a JSON object"
    fix = "put the file back, or name another folder"
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ValueError(f"{expected}, got: {why_not(error)}; {fix}") from error
    except ValueError as error:
        raise ValueError(f"{expected}, got: {error}; {fix}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{expected}, got a {type(found).__name__}; {fix}")
    return found


def check_command(option: str, folder: Path, saved: Mapping[str, Any], command: str) -> None:
    """Refuse a folder that another command wrote.

    Args:
        option: how an error calls it.
        folder: where the results are to go.
        saved: the settings it holds, if any.
        command: the one that is asked to write.

    Raises:
        ValueError: with the command that wrote it.
    """
    for other, names in OWN_SETTINGS.items():
        if other != command and names <= saved.keys():
            raise ValueError(
                f"{option} must be empty or hold a run of {command}, got {shown(folder)} with one "
                f"of {other}; choose another --out"
            )


def why_not(error: OSError) -> str:
    """Return the system's reason in words."""
    return (error.strerror or str(error)).lower()


def shown(path: Path) -> str:
    """Return a path as an error shows it, shortened if it is very long."""
    text = str(path)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
