"""The work of `scripts/early_warning.py`: train what is missing, grade, write, print."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from rlhf_env.files import read_json, write_atomically
from studies.early_warning.grading import Graded, grade, runs_table, table
from studies.early_warning.runs import train_run
from studies.early_warning.settings import ARMS, Study
from studies.execution.failure import failing
from studies.results.csv_files import as_csv

SETTINGS = "settings.json"


def run(study: Study) -> None:
    """Do the runs that the folder does not hold, and grade all of them.

    Raises:
        ValueError: if the folder holds another study, or cannot be made.
        CommandFailed: if a run or a file failed.
    """
    try:
        _claim(study)
    except OSError as error:
        raise ValueError(str(error)) from error
    # The agents' own warnings would interrupt the progress bar.
    logging.getLogger("agents").setLevel(logging.ERROR)
    with failing(RuntimeError, OSError, ValueError):
        _run(study)


def _run(study: Study) -> None:
    wanted = [(arm, seed) for arm in ARMS for seed in range(study.seeds)]
    for arm, seed in tqdm(wanted, unit="run"):
        path = _file(study, arm, seed)
        if not path.is_file():
            write_atomically(path, as_csv(train_run(study, arm, seed)))
    found = {(arm, seed): pd.read_csv(_file(study, arm, seed)) for arm, seed in wanted}
    graded = [
        grade(f"{arm}, seed {seed}", rows.to_dict("records"))  # type: ignore[arg-type]
        for (arm, seed), rows in found.items()
    ]
    points = [rows.assign(arm=arm, seed=seed) for (arm, seed), rows in found.items()]
    write_atomically(study.out / "points.csv", as_csv(pd.concat(points)))
    write_atomically(study.out / "alarms.json", _as_json(graded))
    print(f"\n{table(graded)}\n\n{runs_table(graded)}", flush=True)


def _as_json(graded: list[Graded]) -> bytes:
    return json.dumps([dataclasses.asdict(each) for each in graded], indent=2).encode()


def _file(study: Study, arm: str, seed: int) -> Path:
    return study.out / "runs" / f"{arm.replace(', ', '-').replace(' ', '-').lower()}-{seed}.csv"


def _claim(study: Study) -> None:
    """Make the folder, or check that it was made for the same settings."""
    kept = {k: v for k, v in dataclasses.asdict(study).items() if k not in ("seeds", "out")}
    path = study.out / SETTINGS
    if path.is_file() and read_json(path) != kept:
        raise ValueError(
            f"--out must be new or of a study with the same settings, got {str(study.out)!r} with "
            "others; name another folder"
        )
    (study.out / "runs").mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(kept, indent=2).encode())
