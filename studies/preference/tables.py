"""The study's results as Markdown: where methods end, and the best that they passed."""

from __future__ import annotations

import pandas as pd

from rlhf_env.statistics import Floats
from studies.preference.settings import METHODS, Study
from studies.reporting.axes import rows_where
from studies.statistics.intervals import estimate

HEAD = ("method", "pairs", "J/J* at the end", "E[r]", "KL", "highest J/J* on the way")


def ends_table(points: pd.DataFrame, study: Study) -> str:
    """Return the Markdown table: interquartile means over seeds, 95 % bootstrap."""
    lines = [HEAD, ("---",) * len(HEAD)]
    lines += [
        _line(rows_where(points, (points["method"] == method) & (points["pairs"] == pairs)))
        for method in study.methods
        for pairs in study.pairs
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(rows: pd.DataFrame) -> tuple[str, ...]:
    ends = rows_where(rows, rows["is_end"])
    highest = rows.groupby("seed")["share"].agg("max")
    cells = [_estimate(ends[name].to_numpy(float)) for name in ("share", "gold", "kl")]
    first = rows.iloc[0]
    highest_cell = _estimate(highest.to_numpy(float))
    return METHODS[first["method"]], f"{first['pairs']:,}", *cells, highest_cell


def _estimate(values: Floats) -> str:
    return str(estimate(values))
