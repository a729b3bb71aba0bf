"""The study's figures as tables: rows for the CSV files, and the Markdown of the page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from rlhf_env.statistics import Estimate
from studies.statistics.intervals import estimate
from studies.statistics.noise import (
    Floats,
    Rows,
    cosine_of_means,
    inner_products,
    noise_to_signal,
    over_rollouts,
    plain_cosine,
    product_of_means,
    total_variance,
)
from studies.variance.gradients import Gradients

SETTING = ["granularity", "density"]
CELL = [*SETTING, "agent"]
Row = dict[str, str | float | int | None]


def noise_rows(gradients: Gradients) -> pd.DataFrame:
    """Return one row per setting: noise to signal, and agreement with the first setting."""
    first, *_ = gradients.vectors.values()
    own = inner_products(first, first)
    count = len(first)
    rows: list[Row] = []
    for setting, vectors in gradients.vectors.items():
        these, cross = inner_products(vectors, vectors), inner_products(vectors, first)

        def relative(drawn: Rows, these: Floats = these) -> Floats:
            # Infinite over infinite is not a number, and then there is no interval.
            with np.errstate(invalid="ignore"):
                return noise_to_signal(these, drawn) / noise_to_signal(own, drawn)

        noise = over_rollouts(partial(noise_to_signal, these), count)
        cosine = over_rollouts(partial(cosine_of_means, these, cross, own), count)
        rows.append(
            {
                "granularity": setting.granularity,
                "density": setting.density,
                "rollouts": count,
                "total_variance": float(total_variance(these, np.arange(count))),
                "squared_mean_norm": float(product_of_means(these, np.arange(count))),
                **_columns("noise_to_signal", noise),
                **_columns("relative", over_rollouts(relative, count)),
                "plain_cosine": plain_cosine(these, cross, own),
                **_columns("cosine", cosine),
            }
        )
    return pd.DataFrame(rows)


def episode_estimates(episodes: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting and agent: episodes needed, and how many runs failed.

    Args:
        episodes: of `measure_learning`.
    """
    runs = episodes.to_dict("records")
    rows: list[Row] = []
    for key in distinct(episodes, CELL):
        here = [run for run in runs if all(run[name] == key[name] for name in CELL)]
        found = estimate([run["episodes"] for run in here])
        assert found is not None, key
        missed = sum(not run["reached"] for run in here)
        counts = {"seeds": len(here), "missed": missed}
        rows.append({**key, **_columns("episodes", found), **counts})
    return pd.DataFrame(rows)


def noise_table(noise: pd.DataFrame) -> str:
    """Return the Markdown table of `noise_rows`."""
    lines = [
        "| granularity | density | noise to signal | relative to the first | cosine, plain "
        "| cosine, noise taken out |",
        "|---|---|---|---|---|---|",
    ]
    for row in noise.to_dict("records"):
        cells = [
            row["granularity"],
            row["density"],
            _interval(row, "noise_to_signal", 2),
            _interval(row, "relative", 3),
            f"{row['plain_cosine']:.3f}",
            _interval(row, "cosine", 3),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def episodes_table(episodes: pd.DataFrame) -> str:
    """Return the Markdown table of `episode_estimates`, a column per agent."""
    found = episode_estimates(episodes)
    agents = list(dict.fromkeys(found["agent"]))
    lines = [
        f"| granularity | density | {' | '.join(agent.upper() for agent in agents)} |",
        "|---|---|" + "---|" * len(agents),
    ]
    records = found.to_dict("records")
    for key in distinct(found, SETTING):
        cells = list(key.values())
        for row in records:
            if all(row[name] == key[name] for name in SETTING):
                missed = f", {row['missed']} of {row['seeds']} never" if row["missed"] else ""
                cells.append(_interval(row, "episodes", 0) + missed)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def distinct(table: pd.DataFrame, columns: list[str]) -> list[dict[str, str]]:
    """Return the values of some columns, without repetitions, in the order of the rows."""
    keys = dict.fromkeys(zip(*(table[name] for name in columns), strict=True))
    return [dict(zip(columns, key, strict=True)) for key in keys]


def _columns(name: str, found: Estimate) -> Row:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _interval(row: Mapping[Any, Any], name: str, digits: int) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(low) or pd.isna(high):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
