"""The figure of the study: true score over exact KL, a panel for each amount of data."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rlhf_env import exact
from studies.preference.data import all_responses
from studies.preference.settings import METHODS, Study
from studies.reporting.axes import rows_where
from studies.reporting.style import LIGHT, line_colors, shaded

_COEFS = np.geomspace(0.05, 20, 40)


def draw(points: pd.DataFrame, study: Study) -> Figure:
    """Draw the mean over seeds of every method, its end, and what is optimal at each KL."""
    figure = Figure(figsize=(3.4 * len(study.pairs), 3.8), layout="constrained")
    axes = figure.subplots(1, len(study.pairs), squeeze=False, sharex=True, sharey=True)[0]
    task, colors = all_responses().task, line_colors()
    best = [exact.solve(task, float(coef)) for coef in _COEFS]
    for ax, pairs in zip(axes, study.pairs, strict=True):
        ax.plot([one.kl for one in best], [one.reward for one in best], color=LIGHT.muted, lw=3)
        for number, method in enumerate(study.methods):
            rows = rows_where(points, (points["method"] == method) & (points["pairs"] == pairs))
            color = shaded(colors[number % len(colors)], 1 + number // len(colors))
            steps = rows.groupby("step")
            kl, gold = (steps[name].agg("mean").to_numpy() for name in ("kl", "gold"))
            ax.plot(kl, gold, color=color, label=METHODS[method])
            ends = rows_where(rows, rows["is_end"])
            ax.plot(ends["kl"], ends["gold"], "o", color=color, markersize=3)
        ax.set_title(f"{pairs:,} pairs")
        ax.set_xlabel("KL to the reference (nats)")
    axes[0].set_ylabel("true score, E[r]")
    axes[-1].legend(fontsize=7, loc="lower right", frameon=False)
    return figure
