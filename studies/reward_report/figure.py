"""Reliability curves of several judges."""

from __future__ import annotations

import io
from collections.abc import Mapping

from rlhf_env.rewards.metrics.calibration import Calibration
from studies.reporting.plots import DOTS_PER_INCH
from studies.reporting.style import LIGHT, MARKERS, line_colors, themed


def calibration_png(curves: Mapping[str, Calibration], title: str) -> bytes:
    """Return a PNG of what came true over what was forecast, one curve per judge."""
    from matplotlib.figure import Figure

    with themed(LIGHT):
        figure = Figure(figsize=(4.2, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=LIGHT.muted, linestyle="--", label="perfect")
        colors = line_colors()
        for number, (judge, curve) in enumerate(curves.items()):
            label = f"{judge}, expected error {curve.expected_error:.3f}"
            axes.plot(
                curve.forecasts,
                curve.shares,
                color=colors[number],
                marker=MARKERS[number],
                markersize=4,
                label=label,
            )
        axes.set_aspect("equal")
        axes.set_title(title)
        axes.set_xlabel("forecast probability of being preferred")
        axes.set_ylabel("share that was preferred")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
