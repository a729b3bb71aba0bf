"""The picture of the index: every claim's deciding contrast beside the size that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from studies.reporting.plots import Plot, png
from studies.reporting.style import LIGHT, line_colors
from studies.zoo.findings import Finding
from studies.zoo.verdict import VERDICTS

# In units of the size that a rule asks for; beyond it an arrow.
_LIMITS = (-3.0, 6.0)


def picture(findings: Sequence[Finding]) -> bytes:
    """Return the picture as the content of a PNG file."""
    drawn = Plot(name="zoo", title="", caption="", draw=lambda stacked: draw(findings))
    return png(drawn, LIGHT)


def draw(findings: Sequence[Finding]) -> Figure:
    """Draw a line per claim: 0 is no difference, 1 what "held" asks for."""
    figure = Figure(figsize=(8.4, 1.2 + 0.24 * len(findings)), layout="constrained")
    axes = figure.subplots()
    lines = line_colors()
    colors = {name: lines[number] for name, number in zip(VERDICTS, (2, 4, 1, 3), strict=True)}
    low_end, high_end = _LIMITS
    for height, one in enumerate(findings):
        scale, found = one.deciding.contrast.rule.scale, one.deciding.estimate
        color, value = colors[one.verdict], np.clip(found.value / scale, low_end, high_end)
        if found.low is not None and found.high is not None:
            low, high = np.clip([found.low / scale, found.high / scale], low_end, high_end)
            axes.hlines(height, low, high, color=color, linewidth=2.0)
        is_beyond = not low_end < found.value / scale < high_end
        marker = ("<" if value <= low_end else ">") if is_beyond else "o"
        axes.plot(value, height, marker, color=color)
    for name, color in colors.items():
        axes.plot([], [], "o", color=color, label=name)
    axes.axvline(0.0, color="0.5", linewidth=1.0)
    axes.axvline(1.0, color="0.5", linestyle=":")
    axes.set_xlim(low_end - 0.2, high_end + 0.2)
    axes.set_yticks(np.arange(len(findings)), [one.entry.name for one in findings])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("deciding contrast, in units of the size that the rule asks for")
    figure.legend(loc="outside lower right", ncols=len(VERDICTS), frameon=False)
    return figure
