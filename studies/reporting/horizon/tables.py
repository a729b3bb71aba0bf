"""The table under the map, and the file with the same numbers."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from rlhf_env.statistics import Estimate
from studies.reporting.horizon.cells import ARRIVED, HorizonCell, HorizonMap, never

NEVER = "never"


def table_head(found: HorizonMap) -> tuple[str, ...]:
    """Return the headings: family, T, the axes, and what was measured."""
    measured = ("arrived", f"episodes to {ARRIVED}", "regret J* − J")
    return ("family", "T", *found.axes, *measured)


def table_rows(found: HorizonMap) -> list[tuple[tuple[str, str], ...]]:
    """Return a row per cell: each entry's number, and what is smaller beside it."""
    return [
        (
            (cell.family, ""),
            (str(cell.horizon), ""),
            *((value, "") for value in cell.setting),
            (f"{cell.arrived} of {cell.runs}", ""),
            (_episodes(cell.arrival.value), _interval(cell.arrival)),
            ("–", "") if cell.regret is None else (_digits(cell.regret.value), _ends(cell.regret)),
        )
        for cell in found.cells
    ]


def as_table(found: HorizonMap) -> pd.DataFrame:
    """Return the same as the columns of a CSV file; an arrival that never came is "never"."""
    return pd.DataFrame([_record(found, cell) for cell in found.cells])


def episodes_text(arrival: Estimate) -> str:
    """Return for example ``640 [512, 768] episodes``."""
    if never(arrival):
        return NEVER
    return f"{_episodes(arrival.value)} {_interval(arrival)}".rstrip() + " episodes"


def _record(found: HorizonMap, cell: HorizonCell) -> dict[str, Any]:
    regret = cell.regret or Estimate(value=math.nan, low=None, high=None)
    return {
        "family": cell.family,
        "horizon": cell.horizon,
        **dict(zip(found.axes, cell.setting, strict=True)),
        "runs": cell.runs,
        "arrived": cell.arrived,
        "budget": found.budget,
        "episodes": _plain(cell.arrival.value),
        "episodes_low": _plain(cell.arrival.low),
        "episodes_high": _plain(cell.arrival.high),
        "regret": regret.value,
        "regret_low": regret.low,
        "regret_high": regret.high,
        "reference_regret": cell.start,
    }


def _plain(value: float | None) -> float | str | None:
    return NEVER if value is not None and math.isinf(value) else value


def _episodes(value: float) -> str:
    return NEVER if math.isinf(value) else f"{value:,.0f}"


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return ""
    # "never" alone says it all.
    return "" if math.isinf(found.low) else f"[{_episodes(found.low)}, {_episodes(found.high)}]"


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _ends(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"[{_digits(found.low)}, {_digits(found.high)}]"
