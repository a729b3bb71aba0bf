"""The rows of the study as the Markdown of its page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from rlhf_env.exact import evaluate, solve
from rlhf_env.statistics import Estimate, Floats
from rlhf_env.tasks import load_task
from studies.scaling.settings import Setting
from studies.statistics.arrival import NEVER, arrival_estimate, gained_share
from studies.statistics.scaling import exponent, ratio

SETTING = ("agent", "density", "granularity", "gamma")


def page_tables(rows: pd.DataFrame) -> str:
    """Return the tables of the page, family by family, and that of the discount's cost."""
    families = distinct(rows, "family")
    horizons = distinct(rows, "horizon")
    parts = [f"{arrival_table(rows, family)}\n\n{ratio_table(rows, family)}" for family in families]
    return "\n\n".join([*parts, ceiling_table(families, horizons, distinct(rows, "gamma"))])


def arrival_table(rows: pd.DataFrame, family: str) -> str:
    """Return the episodes at each horizon, the exponent, and how many runs never arrived.

    A cell is the median over runs with its 95 % bootstrap interval, a run that never arrives
    counting as the longest.
    """
    horizons = distinct(rows, "horizon")

    def cells(setting: Setting) -> list[str]:
        arrivals = [arrivals_of(rows, family, horizon, setting) for horizon in horizons]
        fitted = exponent(horizons, arrivals)
        runs = np.concatenate(arrivals)
        never = f"{int(np.isinf(runs).sum())} of {len(runs)}"
        law = "–" if fitted is None else f"{_shown(fitted, 2)} (T ≤ {_last(horizons, arrivals)})"
        return [*(_arrival(sample) for sample in arrivals), law, never]

    heads = [family, *(f"T = {horizon}" for horizon in horizons), "exponent a", "never"]
    return _table(heads, settings_in(rows), cells)


def ratio_table(rows: pd.DataFrame, family: str) -> str:
    """Return how many times the episodes of the agent's plain setting the others need."""
    horizons = distinct(rows, "horizon")

    def cells(setting: Setting) -> list[str]:
        plain = Setting(agent=setting.agent)
        pairs = [
            (arrivals_of(rows, family, t, setting), arrivals_of(rows, family, t, plain))
            for t in horizons
        ]
        return [_times(ratio(these, those), these, those) for these, those in pairs]

    heads = [f"{family}, times", *(f"T = {horizon}" for horizon in horizons)]
    others = [one for one in settings_in(rows) if one != Setting(agent=one.agent)]
    return _table(heads, others, cells)


def ceiling_table(families: Iterable[str], horizons: Iterable[int], gammas: Iterable[float]) -> str:
    """Return what the optimum of a discounted return gains of what there is to gain, exactly."""
    lines = [["task", *(f"γ = {gamma:g}" for gamma in gammas)]]
    for name in (f"{family}-{horizon}" for family in families for horizon in horizons):
        lines.append([name, *(f"{ceiling(name, gamma):.3f}" for gamma in gammas)])
    return _markdown(lines)


def ceiling(name: str, gamma: float) -> float:
    """Return (J − J_ref) / (J* − J_ref) of the optimum of a discounted return, undiscounted."""
    task = load_task(name)
    beta = task.kl_coef
    best = solve(task, beta)
    start = evaluate(task, task.reference, beta).objective
    hasty = evaluate(task, solve(task, beta, gamma).policy, beta).objective
    return float(gained_share(hasty, start, best.objective))


def arrivals_of(rows: pd.DataFrame, family: str, horizon: int, setting: Setting) -> Floats:
    """Return the episodes of each run at one point of the study, `NEVER` among them."""
    chosen = (rows["family"] == family) & (rows["horizon"] == horizon)
    for name in SETTING:
        chosen &= rows[name] == getattr(setting, name)
    here = rows[chosen]
    return np.where(here["reached"], here["episodes"].astype(float), NEVER)


def settings_in(rows: pd.DataFrame) -> list[Setting]:
    """Return the settings of some rows, in their order."""
    keys = dict.fromkeys(rows[list(SETTING)].itertuples(index=False, name=None))
    return [Setting(**dict(zip(SETTING, key, strict=True))) for key in keys]


def distinct(rows: pd.DataFrame, name: str) -> list[Any]:
    """Return the values of a column, without repetitions, in their order."""
    return list(dict.fromkeys(rows[name]))


def _table(heads: list[str], settings: list[Setting], cells: Callable[[Setting], list[str]]) -> str:
    return _markdown([heads, *([setting.label, *cells(setting)] for setting in settings)])


def _markdown(lines: list[list[str]]) -> str:
    head, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rest])


def _arrival(sample: Floats) -> str:
    found = arrival_estimate(sample)
    if found is None:
        return "–"
    return "never" if np.isinf(sample).all() else _shown(found, 0)


def _times(found: Estimate | None, these: Floats, those: Floats) -> str:
    if found is not None:
        return _shown(found, 2)
    missed = [int(np.isinf(sample).sum()) for sample in (these, those)]
    return f"– (never: {missed[0]} of {len(these)}, plain {missed[1]} of {len(those)})"


def _last(horizons: list[int], arrivals: list[Floats]) -> int:
    pairs = zip(horizons, arrivals, strict=True)
    return max(t for t, runs in pairs if np.isfinite(runs).all())


def _shown(found: Estimate, digits: int) -> str:
    def shown(number: float) -> str:
        return "never" if np.isinf(number) else f"{number:.{digits}f}"

    if found.low is None or found.high is None:
        return shown(found.value)
    return f"{shown(found.value)} [{shown(found.low)}, {shown(found.high)}]"
