"""The rows of a claim: a CSV file, which pages are made from and a later run continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rlhf_env.files import write_atomically
from studies.results.csv_files import as_csv, read_csv
from studies.zoo.claim import Claim, Point, Row
from studies.zoo.experiments.signature import digest

COSTS = "costs.csv"
_HEAD = ("arm", "seed", "settings")


def points_of(claim: Claim) -> list[Point]:
    """Return all runs of a claim, arm by arm."""
    experiment = claim.experiment
    return [Point(arm, seed) for arm in experiment.names for seed in range(experiment.seeds)]


def read_rows(path: Path, claim: Claim) -> dict[Point, Row]:
    """Return the rows that were written under the claim's present settings.

    Args:
        path: of the CSV file; there need not be one.
        claim: whose rows they are.

    Raises:
        ValueError: if the file is no such table.
    """
    table = read_csv(path)
    if table.empty:
        return {}
    columns = claim.experiment.measured
    if not set(_HEAD) <= set(table):
        raise ValueError(f"{path} must have the columns {', '.join(_HEAD)}, got {list(table)}")
    if not set(columns) <= set(table):
        return {}
    wanted, current = set(points_of(claim)), digest(claim.experiment)
    found: dict[Point, Row] = {}
    for row in table.to_dict("records"):
        point = Point(str(row["arm"]), int(row["seed"]))
        if str(row["settings"]) == current and point in wanted:
            found[point] = {name: float(row[name]) for name in columns}
    return found


def write_rows(path: Path, claim: Claim, rows: Mapping[Point, Row]) -> None:
    """Replace the file, arm by arm and seed by seed; six significant digits per number."""
    of_settings = digest(claim.experiment)
    lines = [
        {"arm": point.arm, "seed": point.seed, "settings": of_settings, **rows[point]}
        for point in points_of(claim)
        if point in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [*_HEAD, *claim.experiment.measured]
    write_atomically(path, as_csv(pd.DataFrame(lines, columns=columns)))


def read_costs(folder: Path) -> dict[str, float]:
    """Return the seconds that claims took, by name."""
    table = read_csv(folder / COSTS)
    return {str(row["claim"]): float(row["seconds"]) for row in table.to_dict("records")}


def add_cost(folder: Path, name: str, seconds: float, *, is_new: bool) -> None:
    """Note what a claim took, or took more where it was continued."""
    costs = read_costs(folder)
    costs[name] = round(seconds + (0.0 if is_new else costs.get(name, 0.0)), 1)
    lines = [{"claim": claim, "seconds": spent} for claim, spent in sorted(costs.items())]
    write_atomically(folder / COSTS, as_csv(pd.DataFrame(lines)))
