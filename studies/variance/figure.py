"""The figure of the study: noise on the left, episodes on the right, one row per setting."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.reporting.style import MARKERS, line_colors
from studies.variance.tables import SETTING, distinct, episode_estimates


def draw(noise: pd.DataFrame, episodes: pd.DataFrame, limit: int) -> Figure:
    """Draw both panels.

    Args:
        noise: of `noise_rows`.
        episodes: of `measure_learning`.
        limit: episodes at which a run was given up.
    """
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    heights = np.arange(len(noise))
    _points(left, noise, "noise_to_signal", heights)
    left.set_yticks(heights, [", ".join(key.values()) for key in distinct(noise, SETTING)])
    left.invert_yaxis()
    left.set_xlim(left=0.0)
    left.set_title("Noise of the policy gradient at the reference")
    left.set_xlabel("total variance / squared norm of the mean gradient")
    found = episode_estimates(episodes)
    agents = list(dict.fromkeys(found["agent"]))
    for number, agent in enumerate(agents):
        shift = 0.24 * (number - (len(agents) - 1) / 2)
        here = pd.DataFrame([row for row in found.to_dict("records") if row["agent"] == agent])
        _points(right, here, "episodes", heights + shift, number=number, label=agent.upper())
    right.axvline(limit, color=line_colors()[3], linestyle=":", label="given up")
    right.set_xlim(left=0.0)
    right.set_title(f"Episodes until the score reaches {episodes['threshold'].iloc[0]:.2f}")
    right.set_xlabel("episodes (interquartile mean over seeds)")
    figure.legend(loc="outside lower right", ncols=len(agents) + 1, frameon=False)
    return figure


def _points(
    axes: Axes,
    table: pd.DataFrame,
    name: str,
    heights: np.ndarray,
    *,
    number: int = 0,
    label: str = "",
) -> None:
    """Draw a dot and its interval per row; a row without an interval gets the dot alone."""
    value = table[name].to_numpy(dtype=float)
    ends = table[[f"{name}_low", f"{name}_high"]].astype(float)
    low, high = ends.fillna({f"{name}_low": table[name], f"{name}_high": table[name]}).T.to_numpy()
    color = line_colors()[number]
    axes.hlines(heights, low, high, color=color, linewidth=2.0)
    axes.plot(value, heights, MARKERS[number], color=color, label=label or "_nolegend_")
    axes.grid(axis="y", visible=False)
