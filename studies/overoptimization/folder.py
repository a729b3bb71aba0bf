"""The folder of a study: which settings it was made with."""

from __future__ import annotations

import dataclasses
import json

from rlhf_env.files import read_json, write_atomically
from studies.overoptimization.settings import Study

SETTINGS = "settings.json"
# What may differ between two commands that share a folder.
_FREE = ("seeds", "jobs", "out")


def claim_folder(study: Study) -> None:
    """Make the folder, or check that it was made for the same study.

    Raises:
        ValueError: if it was made for another, or cannot be read.
        OSError: if it cannot be made.
    """
    path = study.out / SETTINGS
    kept = {k: v for k, v in dataclasses.asdict(study).items() if k not in _FREE}
    text = json.dumps(kept, indent=2) + "\n"
    if not path.is_file():
        for name in ("proxies", "points"):
            (study.out / name).mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
        return
    found, wanted = _read(study), json.loads(text)
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ValueError(
                f"out must be a folder of a study with the same settings, got {study.out} with "
                f"{name} = {found.get(name)} instead of {value}; name another folder"
            )


def _read(study: Study) -> dict[str, object]:
    try:
        found = read_json(study.out / SETTINGS)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            f"out must be a folder of this command, got {study.out} with a damaged {SETTINGS}; "
            "name another folder"
        )
    return found
