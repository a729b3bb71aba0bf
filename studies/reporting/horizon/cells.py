"""The numbers of the map: per family, horizon and setting the episodes to 90 % and the regret."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlhf_env.statistics import Estimate
from studies.reporting.axes import MISSING, groups, has, rows_where, values, varied_axes
from studies.reporting.titles import SYMBOLS
from studies.statistics.arrival import TARGET, arrival_estimate, first_arrival
from studies.statistics.intervals import estimate

# What the map is made of, beside the settings.
RUN_COLUMNS = ("family", "horizon", "regret", "optimum", "reference_objective")
CURVE_COLUMNS = ("run_id", "episodes", "gained")
# In this order settings are named, and told apart in the figures.
FIRST_AXES = ("agent", "density", "gamma", "granularity")
# Number and sign stay on one line.
ARRIVED = f"{TARGET:.0%}".replace("%", "\u00a0%")
Setting = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HorizonCell:
    """The runs of one setting on one task of a family."""

    family: str
    """Of the task."""
    horizon: int
    """T, in tokens."""
    setting: Setting
    """The values of the map's axes, as text."""
    runs: int
    """How many ended well."""
    arrived: int
    """How many of them gained enough."""
    arrival: Estimate
    """Episodes until they had; infinite for never."""
    regret: Estimate | None
    """J* − J after training: interquartile mean; None where it was not measured."""
    start: float
    """J* − J of the reference, where all began."""


@dataclass(frozen=True, kw_only=True)
class HorizonMap:
    """All cells of a grid of horizons."""

    axes: tuple[str, ...]
    """What settings differ in, the agent always."""
    cells: tuple[HorizonCell, ...]
    """In the grid's order, horizons ascending within a setting."""
    budget: int
    """Episodes after which runs end."""

    @property
    def families(self) -> list[str]:
        """The families, in the grid's order."""
        return list(dict.fromkeys(cell.family for cell in self.cells))

    @property
    def settings(self) -> list[Setting]:
        """The settings, in the grid's order."""
        return list(dict.fromkeys(cell.setting for cell in self.cells))

    @property
    def horizons(self) -> list[int]:
        """The horizons, ascending."""
        return sorted({cell.horizon for cell in self.cells})

    def value(self, setting: Setting, axis: str) -> str:
        """Return a setting's value of an axis."""
        return setting[self.axes.index(axis)]

    def name(self, setting: Setting, without: Sequence[str] = ()) -> str:
        """Return for example ``ppo terminal γ 0.9``; without the agent where there is one only.

        Args:
            setting: to name.
            without: axes that are not named.
        """
        agent = self.value(setting, "agent")
        is_only = all(self.value(other, "agent") == agent for other in self.settings)
        hidden = {*without, *(["agent"] if is_only else [])}
        parts = [
            f"{SYMBOLS[axis]} {value}" if axis in SYMBOLS else value
            for axis, value in zip(self.axes, setting, strict=True)
            if axis not in hidden and value != MISSING
        ]
        return " ".join(parts) or agent

    def line(self, family: str, setting: Setting) -> list[HorizonCell]:
        """Return the cells of one setting on one family, horizons ascending."""
        return [cell for cell in self.cells if (cell.family, cell.setting) == (family, setting)]


def horizon_map(results: pd.DataFrame, curves: pd.DataFrame) -> HorizonMap | None:
    """Return the map of a grid; None where no family was run at two horizons or more.

    Args:
        results: the runs that ended well, of all tasks, every axis' value as it is read.
        curves: one row per run and update.
    """
    is_measured = all(name in results for name in RUN_COLUMNS) and has(results, "family")
    if not is_measured or not all(name in curves for name in CURVE_COLUMNS):
        return None
    known = rows_where(results, results["family"].notna() & results["optimum"].notna())
    long = [name for (name,), rows in groups(known, ["family"]) if len(set(rows["horizon"])) > 1]
    known = rows_where(known, known["family"].isin(long))
    if known.empty:
        return None
    axes = map_axes(known)
    by_run = {
        key: points for (key,), points in groups(curves.dropna(subset=["gained"]), ["run_id"])
    }
    cells = [
        _cell(key, rows, by_run)
        for key, rows in groups(known, ["family", *axes, "horizon"])
        if any(run in by_run for run in rows["run_id"])
    ]
    if not cells:
        return None
    families, settings = values(known, "family"), list(dict.fromkeys(c.setting for c in cells))
    order = sorted(
        cells,
        key=lambda c: (families.index(c.family), settings.index(c.setting), c.horizon),
    )
    seen = rows_where(curves, curves["run_id"].isin(known["run_id"]))
    budget = int(seen["episodes"].to_numpy(dtype=float).max())
    return HorizonMap(axes=axes, cells=tuple(order), budget=budget)


def map_axes(results: pd.DataFrame) -> tuple[str, ...]:
    """Return the axes that settings differ in: agent, density, discount, granularity, others."""
    varied = varied_axes(results)
    first = [name for name in FIRST_AXES if name in varied]
    return (*first, *(name for name in varied if name not in FIRST_AXES))


def never(estimate_: Estimate) -> bool:
    """Return whether the median never arrives."""
    return math.isinf(estimate_.value)


def _cell(
    key: tuple[Any, ...], rows: pd.DataFrame, by_run: Mapping[Any, pd.DataFrame]
) -> HorizonCell:
    family, *setting, horizon = key
    curves = [by_run[run] for run in rows["run_id"] if run in by_run]
    arrivals = [first_arrival(one["episodes"], one["gained"]) for one in curves]
    found = arrival_estimate(arrivals)
    assert found is not None, key
    return HorizonCell(
        family=str(family),
        horizon=int(horizon),
        setting=tuple(map(str, setting)),
        runs=len(arrivals),
        arrived=sum(map(math.isfinite, arrivals)),
        arrival=found,
        regret=estimate(rows["regret"].to_numpy(dtype=float)),
        start=float(np.mean(rows["optimum"] - rows["reference_objective"])),
    )
