"""The study's rows as a Markdown page."""

from __future__ import annotations

import pandas as pd

TITLES = {
    "kl": "Where the KL is, and by which estimator",
    "length": "How responses of different lengths are weighed",
    "std": "Dividing by a standard deviation",
    "baseline": "Baselines",
    "discount": "Discounts, and the two forms of the gradient",
    "critic": "Lambda and the critic",
    "clip": "Clipping, when the policy has moved on",
    "entropy": "Clip-Cov and KL-Cov",
    "importance": "Corrections where another policy sampled",
}

_COLUMNS = {
    "scale": "factor",
    "cosine": "cosine",
    "direction_bias": "bias of the direction",
    "noise_to_signal": "noise per episode",
}


def page(rows: pd.DataFrame) -> str:
    """Return the tables of each dispute; an estimator's row holds all policies."""
    places = rows.groupby(["dispute", "estimator"])["policy"].transform(" / ".join)
    parts = []
    for dispute, part in rows.groupby("dispute", sort=False):
        tables = [_table(same) for _, same in part.groupby(places, sort=False)]
        parts.append("\n\n".join([f"## {TITLES[str(dispute)]}", *tables]))
    return "\n\n".join(parts) + "\n"


def _table(rows: pd.DataFrame) -> str:
    lines = []
    for name, part in rows.groupby("estimator", sort=False):
        verdicts = list(dict.fromkeys(part["verdict"]))
        figures = [" / ".join(_shown(value) for value in part[column]) for column in _COLUMNS]
        lines.append(
            [str(name), *figures, verdicts[0] if len(verdicts) == 1 else "; ".join(verdicts)]
        )
    places = " / ".join(dict.fromkeys(rows["policy"]))
    headers = [f"at {places}", *_COLUMNS.values(), "verdict"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [headers, ["---"] * 6, *lines])


def _shown(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
