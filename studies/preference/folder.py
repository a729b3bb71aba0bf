"""The folder of a study: which settings it was made with."""

from __future__ import annotations

import dataclasses
import json

from rlhf_env.files import write_atomically
from studies.preference.settings import Study

SETTINGS = "settings.json"
# What may differ between two commands that share a folder.
_FREE = ("methods", "pairs", "seeds", "jobs", "out")


def claim_folder(study: Study) -> None:
    """Make the folder, or check that it was made with the same budget.

    Raises:
        ValueError: if it was made with another.
        OSError: if it cannot be made.
    """
    path = study.out / SETTINGS
    kept = {k: v for k, v in dataclasses.asdict(study).items() if k not in _FREE}
    text = json.dumps(kept, indent=2) + "\n"
    (study.out / "points").mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        write_atomically(path, text.encode())
    elif path.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"out must be a folder of a study with the same settings, got {study.out} whose "
            f"{SETTINGS} says otherwise; name another folder"
        )
