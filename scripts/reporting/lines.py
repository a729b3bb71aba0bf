"""The lines of a figure: which runs make each, and how they are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from scripts.reporting.style import DASHES, MARKERS, line_colours, shaded
from scripts.reporting.tables import groups, varied_axes

# Axes that facets do not show: they make the lines.
LINE_AXES = ("agent", "gamma", "gae_lambda", "kl_coef", "group_size")
SYMBOLS = {"gamma": "γ", "gae_lambda": "λ", "kl_coef": "β", "group_size": "G"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """The runs of one line: they differ in their seeds only.

    Attributes:
        name: as the legend has it.
        colour: the agent's, in the shade of the other settings.
        dashes: of the other settings, where lines are drawn.
        width: in points; the first of several is wide, so that one that equals it shows on top.
        marker: of the other settings, where points are.
        runs: their rows.
    """

    name: str
    colour: str
    dashes: Any
    width: float
    marker: str
    runs: pd.DataFrame

    @property
    def look(self) -> dict[str, Any]:
        """What matplotlib calls colour, dashes and width."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": self.width}

    def matrix(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the updates [U] and the metric of every run at them, [N, U]."""
        wide = self.runs.pivot_table(index="seed", columns="update", values=metric)
        return wide.columns.to_numpy(float), wide.to_numpy(float)


def lines(every: pd.DataFrame, here: pd.DataFrame) -> list[Line]:
    """Return the lines of a facet, in the order of the settings.

    Args:
        every: the rows of all facets, which decide on the looks.
        here: those of this facet.
    """
    runs_once = every.drop_duplicates("run_id")
    varied = varied_axes(runs_once)
    shown = [name for name in LINE_AXES if name in varied and name != "agent"]
    agents, colours = values(runs_once, "agent"), line_colours()
    settings = list(dict.fromkeys(map(tuple, runs_once[shown].to_numpy().tolist())))
    found = []
    for key, runs in groups(here, ["agent", *shown]):
        others = zip(shown, key[1:], strict=True)
        words = [key[0], *(f"{SYMBOLS[name]} {value}" for name, value in others if value != "–")]
        look = settings.index(tuple(key[1:]))
        colour = colours[agents.index(key[0]) % len(colours)]
        found.append(
            Line(
                name=" ".join(words),
                colour=shaded(colour, look) if len(settings) > 1 else colour,
                dashes=DASHES[look % len(DASHES)],
                width=3.4 if look == 0 and len(settings) > 1 else mpl.rcParams["lines.linewidth"],
                marker=MARKERS[look % len(MARKERS)],
                runs=runs,
            )
        )
    return found


def values(table: pd.DataFrame, name: str) -> list[str]:
    """Return the different values of a column in order of appearance."""
    return list(dict.fromkeys(table[name]))
