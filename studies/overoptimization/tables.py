"""The study's figures as tables: rows for the CSV files, and the Markdown of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlhf_env.statistics import Estimate, Floats
from studies.overoptimization.curves import FORMS, Curve, curves, over_seeds
from studies.overoptimization.settings import Judge, Study
from studies.statistics.gao import Form

PEAK_HEAD = (
    *("method", "judge", "accuracy", "gold peaks at d", "gold there"),
    *("gold at the end", "lost from there on", "proxy gained from there on", "end of sweep, d"),
)
FIT_HEAD = (
    *("method", "judge", "law", "α", "β", "R²", "R² of one seed"),
    *("its peak, d", "gold there"),
)
COMPARISON_HEAD = (
    *("method", "change", "peak d", "peak of the law, d"),
    *("gold at the peak", "gold at the end"),
)
Row = dict[str, str | float]


def peaks_table(points: pd.DataFrame) -> str:
    """Return the Markdown table of where gold peaks and how much is lost by continuing."""
    return _markdown(PEAK_HEAD, [_peak_cells(curve) for curve in curves(points)])


def fit_rows(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per curve and law: its numbers, R², and the interval of its peak.

    The law is fitted to the mean over seeds; ``r_squared_one_seed`` is the median of fits to each
    seed alone.
    """
    return pd.DataFrame(
        [row for curve in curves(points) for form in FORMS for row in _fit_row(curve, form)]
    )


def fits_table(points: pd.DataFrame) -> str:
    """Return the Markdown table of `fit_rows`."""
    lines = []
    for row in fit_rows(points).to_dict("records"):
        names = ("alpha", "beta", "r_squared", "r_squared_one_seed")
        numbers = [f"{row[name]:.3f}" for name in names]
        lines.append([row["method"], row["judge"], row["law"], *numbers, *_law_peak(row)])
    return _markdown(FIT_HEAD, lines)


def comparisons_table(points: pd.DataFrame, study: Study) -> str:
    """Return the Markdown table of what data, size and ensembles change, seed by seed."""
    found = {(curve.method, curve.judge): curve for curve in curves(points)}
    lines = [
        [method, name, *_changes(found[method, before.label], found[method, after.label])]
        for method in dict.fromkeys(points["method"])
        for name, before, after in changes(study)
    ]
    return _markdown(COMPARISON_HEAD, lines)


def changes(study: Study) -> list[tuple[str, Judge, Judge]]:
    """Return what is compared: a name, the judge before and the judge after."""
    most, least = max(study.layers), min(study.layers)
    middle = Judge(layers=most, pairs=study.ensemble_pairs)
    few, many = (Judge(layers=most, pairs=edge(study.pairs)) for edge in (min, max))
    small = Judge(layers=least, pairs=study.ensemble_pairs)
    ensembles = [judge for judge in study.judges if judge.is_ensemble]
    asked = [
        (f"{most} layers: {few.pairs} to {many.pairs} pairs", few, many),
        (f"{middle.pairs} pairs: {least} to {most} layers", small, middle),
        *((f"{middle.label}: one model to {judge.rule}", middle, judge) for judge in ensembles),
    ]
    return [change for change in asked if change[1] != change[2]]


def _peak_cells(curve: Curve) -> list[str]:
    # The step is held: drawn anew, the highest of all would never be below the last.
    top = curve.top
    measures: list[Callable[[Curve], float]] = [
        lambda drawn: drawn.peak_distance,
        lambda drawn: drawn.peak_height,
        lambda drawn: drawn.last_gold,
        lambda drawn: _gain(drawn.gold, top),
        lambda drawn: _gain(drawn.proxy, top),
    ]
    return [
        curve.method,
        curve.judge,
        f"{curve.accuracy.mean():.3f}",
        *(_text(over_seeds(measure, curve)) for measure in measures),
        f"{curve.last_distance:.2f}",
    ]


def _gain(scores: Floats, step: int) -> float:
    """Return the mean change of scores [K, U] from a step to the last."""
    return float((scores[:, -1] - scores[:, step]).mean())


def _fit_row(curve: Curve, form: Form) -> list[Row]:
    law = curve.fit(form)
    if law is None:
        return []

    def peak(drawn: Curve) -> float:
        found = drawn.fit(form)
        return math.nan if found is None or found.peak is None else found.peak[0]

    place = over_seeds(peak, curve)
    low, high = (math.nan if end is None else end for end in (place.low, place.high))
    return [
        {
            "method": curve.method,
            "judge": curve.judge,
            "law": form.name,
            "alpha": law.alpha,
            "beta": law.beta,
            "r_squared": law.r_squared,
            "r_squared_one_seed": float(np.median([one.r_squared for one in curve.fits(form)])),
            "peak": place.value,
            "peak_low": low,
            "peak_high": high,
            "height": math.nan if law.peak is None else law.peak[1],
            "last_distance": curve.last_distance,
        }
    ]


def _law_peak(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return a law's peak and its height as cells; a peak beyond the data is not a finding."""
    if not row["peak"] <= row["last_distance"]:
        return "not in the sweep", "–"
    low, high = (None if np.isnan(row[name]) else row[name] for name in ("peak_low", "peak_high"))
    return _text(Estimate(value=row["peak"], low=low, high=high, count=0)), f"{row['height']:.2f}"


def _changes(before: Curve, after: Curve) -> list[str]:
    measures: list[Callable[[Curve, Curve], float]] = [
        lambda first, second: second.peak_distance - first.peak_distance,
        lambda first, second: second.law_peak - first.law_peak,
        lambda first, second: second.peak_height - first.peak_height,
        lambda first, second: second.last_gold - first.last_gold,
    ]
    return [_text(over_seeds(measure, before, after), sign="+") for measure in measures]


def _text(found: Estimate, *, sign: str = "") -> str:
    if math.isnan(found.value):
        return "–"
    value = f"{found.value:{sign}.2f}"
    if found.low is None or found.high is None:
        return value
    return f"{value} [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
