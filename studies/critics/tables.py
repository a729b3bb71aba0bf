"""The rows of the study as the Markdown of its page."""

from __future__ import annotations

import pandas as pd

from studies.statistics.intervals import estimate

_SHOWN = (1, 2, 4, 8)


def page_tables(rows: pd.DataFrame) -> str:
    """Return a table for each task, in the order of the rows."""
    return "\n\n".join(
        gain_table(part, str(task)) for task, part in rows.groupby("task", sort=False)
    )


def gain_table(rows: pd.DataFrame, task: str) -> str:
    """Return what was gained after some updates of the policy, and the critic at the first.

    A cell is the interquartile mean over seeds with its 95 % bootstrap interval.

    Args:
        rows: of one task.
        task: its name.
    """
    updates = [number for number in _SHOWN if number in set(rows["update"])]
    heads = [
        task,
        *(f"after {number}" for number in updates),
        "lowest",
        "critic's error",
        "episodes",
    ]
    lines = []
    for arm, part in rows.groupby("arm", sort=False):
        at = {number: part.loc[part["update"] == number] for number in (1, *updates)}
        gains = [str(estimate(at[number]["gained"].to_numpy())) for number in updates]
        lowest = str(estimate([seed["gained"].min() for _, seed in part.groupby("seed")]))
        error = str(estimate(at[1]["critic_rmse"].to_numpy()))
        lines.append([str(arm), *gains, lowest, error, f"{part['episodes'].max()}"])
    shown = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in shown)
