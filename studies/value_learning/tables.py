"""The rows of the study as the Markdown of its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from rlhf_env.statistics import Estimate
from studies.statistics.arrival import arrival_estimate
from studies.statistics.intervals import estimate
from studies.value_learning.settings import BREAKS, METHODS


def page_tables(rows: pd.DataFrame) -> str:
    """Return a table for each part that was measured."""
    made = {
        "fixed": fixed_table,
        "uniform": data_table,
        "offline": data_table,
        "arrival": arrival_tables,
        "breaks": fixed_table,
    }
    parts = rows.groupby("part", sort=False)
    return "\n\n".join(made[str(name)](part) for name, part in parts)


def fixed_table(rows: pd.DataFrame) -> str:
    """Return J/J* of each method after learning from every response, where it stands still."""
    pairs = zip(rows["method"], rows["share"], strict=True)
    lines = [[name, _claim(name), f"{share:.4f}"] for name, share in pairs]
    return _markdown(["fitted to all responses", "claims J*", "J / J*"], lines)


def data_table(rows: pd.DataFrame) -> str:
    """Return J/J* of each method by the size of its data, over seeds."""
    part = str(rows["part"].iloc[0])
    sizes = sorted(set(rows["size"]))
    heads = [part, *(f"{size} episodes" for size in sizes), f"lowest of {sizes[-1]}"]
    lines = []
    for name, own in rows.groupby("method", sort=False):
        cells = [_shares(own.loc[own["size"] == size]) for size in sizes]
        lowest = own.loc[own["size"] == sizes[-1], "share"].min()
        lines.append([str(name), *cells, f"{lowest:.3f}"])
    return _markdown(heads, lines)


def arrival_tables(rows: pd.DataFrame) -> str:
    """Return the fresh episodes to 95 % of J* − J of the reference, a table for each task.

    A method is shown at the step size with the lowest median, "never" being the longest; of equal
    ones at that with the higher share gained in the end.
    """
    return "\n\n".join(
        _arrival_table(part, str(task)) for task, part in rows.groupby("task", sort=False)
    )


def _arrival_table(rows: pd.DataFrame, task: str) -> str:
    ratios = sorted(set(rows["ratio"]))
    lines = []
    for name, own in rows.groupby("method", sort=False):
        measured = [own.loc[own["ratio"] == ratio] for ratio in ratios]
        cells = [_best(part) if len(part) else "" for part in measured]
        lines.append([str(name), *cells])
    return _markdown([task, *(f"ratio {ratio}" for ratio in ratios)], lines)


def best_rate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a method at its best step size.

    Args:
        rows: of one method, task and ratio.
    """
    groups = [part for _, part in rows.groupby("rate", sort=True)]
    return min(groups, key=lambda part: (part["arrival"].median(), -part["gained"].median()))


def _best(rows: pd.DataFrame) -> str:
    chosen = best_rate(rows)
    found = arrival_estimate(chosen["arrival"].to_numpy())
    assert found is not None
    rate = f"at {chosen['rate'].iloc[0]:g}"
    if np.isfinite(found.value):
        return f"{_episodes(found)}, {rate}"
    return f"never, gained {chosen['gained'].median():.2f}, {rate}"


def _episodes(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:.0f}"
    return f"{found.value:.0f} [{found.low:.0f}, {_end(found.high)}]"


def _end(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) else "never"


def _claim(method: str) -> str:
    return "yes" if {**METHODS, **BREAKS}[method].reaches else "no"


def _shares(rows: pd.DataFrame) -> str:
    return str(estimate(rows["share"].to_numpy()))


def _markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    shown = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in shown)
