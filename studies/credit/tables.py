"""The study's rows as the Markdown of its page."""

from __future__ import annotations

import pandas as pd

from studies.statistics.intervals import estimate

COLUMN = ["task", "updates"]


def credit_table(rows: pd.DataFrame) -> str:
    """Return the AUC of every source, a column per task and number of updates.

    A cell is the interquartile mean over seeds with its 95 % bootstrap interval. The first line
    says how far training is: J / J*.
    """
    columns = list(dict.fromkeys(rows[COLUMN].itertuples(index=False, name=None)))
    heads = [f"{task}, {updates} updates" for task, updates in columns]
    lines = [f"| credit | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]

    def line(name: str, value: str, source: str) -> str:
        cells = []
        for task, updates in columns:
            here = rows[
                (rows["task"] == task) & (rows["updates"] == updates) & (rows["source"] == source)
            ]
            found = estimate(here[value])
            cells.append("–" if found is None else str(found))
        return f"| {' | '.join([name, *cells])} |"

    sources = list(dict.fromkeys(rows["source"]))
    lines += [line("*J / J\\** of the policy", "j_ratio", sources[0])]
    lines += [line(source, "auc", source) for source in sources]
    return "\n".join(lines)
