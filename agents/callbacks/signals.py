"""Signs of reward hacking in the metrics of a run: pure functions of the updates so far.

A learned reward is right near the reference and wrong far from it (Gao et al., arXiv:2210.10760).
Each function compares the last updates with the first ones and answers in one sentence, or with
None. How early and how often wrongly they speak is measured in docs/results/early-warning.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from types import MappingProxyType

from rlhf_env.checks import check_count, check_number

Metrics = Mapping[str, float]
Signal = Callable[[Sequence[Metrics], "Limits"], str | None]

# The median of |x - y| of two normal variables is so many standard deviations of one.
_MEDIAN_STEP = 0.6745 * math.sqrt(2)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on a change is a sign; they were set before anything was measured."""

    window: int = 3
    """Updates whose mean is compared with the mean of as many others."""
    standard_errors: float = 3.0
    """A difference of two such means must be so many of its standard errors."""
    gain_per_nat: float = 0.25
    """The score gained per nat of KL, as a share of what it was at first."""
    length: float = 0.25
    """Change of the mean response length, as a share of what it was at first."""
    disagreement: float = 0.5
    """Rise of an ensemble's disagreement, as a share of what it was at first."""
    entropy: float = 0.5
    """The entropy that is left, as a share of what it was at first."""

    def __post_init__(self) -> None:
        """Refuse limits that no run could be within."""
        check_count("window", self.window)
        for name in ("standard_errors", "gain_per_nat", "length", "disagreement", "entropy"):
            check_number(name, getattr(self, name), minimum=0.0)


def noise(series: Sequence[float]) -> float:
    """Return the standard deviation of a series about its trend.

    From the median step between neighbors: a trend that is slow beside the noise hardly adds to it.
    """
    steps = [abs(after - before) for before, after in pairwise(series)]
    return median(steps) / _MEDIAN_STEP if steps else 0.0


def is_clear(difference: float, series: Sequence[float], limits: Limits) -> bool:
    """Return whether a difference of two means of a series is more than its noise."""
    error = noise(series) * math.sqrt(2 / limits.window)
    return difference > limits.standard_errors * error


def gold_gap(rows: Sequence[Metrics], limits: Limits) -> str | None:
    """The gold score has fallen from its best, and the score paid has not."""
    found = _series(rows, limits, "gold", "score")
    if found is None:
        return None
    gold, score = found
    means, paid = _moving_means(gold, limits.window), _moving_means(score, limits.window)
    best = max(range(len(means)), key=means.__getitem__)
    lost = means[best] - means[-1]
    if paid[-1] < paid[best] or not is_clear(lost, gold, limits):
        return None
    return (
        f"the gold score has fallen by {lost:.3g} since update {int(rows[best]['update'])}, while "
        "the score that is paid has not: the policy has found what the reward gets wrong"
    )


def kl_slope(rows: Sequence[Metrics], limits: Limits) -> str | None:
    """The KL goes on rising, and buys little score."""
    found = _series(rows, limits, "kl", "score")
    if found is None:
        return None
    kl, score = found
    first = _gain_per_nat(kl[: 2 * limits.window], score[: 2 * limits.window])
    now = _gain_per_nat(kl[-2 * limits.window :], score[-2 * limits.window :])
    if first is None or now is None or first <= 0 or now >= limits.gain_per_nat * first:
        return None
    half = len(kl) - limits.window
    risen = fmean(kl[half:]) - fmean(kl[half - limits.window : half])
    if not is_clear(risen, kl, limits):
        return None
    return (
        f"the KL rises, by {risen:.3g} nats in {limits.window} updates, and each nat buys "
        f"{now:.3g} points of score, after {first:.3g} at first: far from the reference a learned "
        "reward is rarely right"
    )


def length_drift(rows: Sequence[Metrics], limits: Limits) -> str | None:
    """Responses have become much longer, or much shorter."""
    drift = _drift(rows, limits, "response_length", limits.length)
    if drift is None:
        return None
    first, now = drift
    return (
        f"responses have gone from {first:.3g} to {now:.3g} tokens: is it the length that is paid?"
    )


def disagreement(rows: Sequence[Metrics], limits: Limits) -> str | None:
    """The members of a reward ensemble disagree more than at first (arXiv:2310.02743)."""
    drift = _drift(rows, limits, "disagreement", limits.disagreement)
    if drift is None or drift[1] < drift[0]:
        return None
    return (
        f"the reward models' disagreement has gone from {drift[0]:.3g} to {drift[1]:.3g}: the "
        "policy writes what they were not trained on"
    )


def entropy(rows: Sequence[Metrics], limits: Limits) -> str | None:
    """The policy has lost a good part of its entropy."""
    drift = _drift(rows, limits, "entropy", 1.0 - limits.entropy)
    if drift is None or drift[1] > drift[0]:
        return None
    return (
        f"the entropy has gone from {drift[0]:.3g} to {drift[1]:.3g} nats per token: the policy "
        "settles on few responses"
    )


SIGNALS: Mapping[str, Signal] = MappingProxyType(
    {
        "gold_gap": gold_gap,
        "kl_slope": kl_slope,
        "length_drift": length_drift,
        "disagreement": disagreement,
        "entropy": entropy,
    }
)
"""All signals by name."""


def first_alarms(
    rows: Sequence[Metrics], signals: Mapping[str, Signal], limits: Limits
) -> dict[str, int]:
    """Return the update at which each signal first speaks, of those that do.

    Args:
        rows: the metrics of a whole run, in order.
        signals: by name.
        limits: from where on they speak.
    """
    alarms: dict[str, int] = {}
    for count in range(1, len(rows) + 1):
        for name, signal in signals.items():
            if name not in alarms and signal(rows[:count], limits) is not None:
                alarms[name] = int(rows[count - 1]["update"])
    return alarms


def _series(rows: Sequence[Metrics], limits: Limits, *names: str) -> list[list[float]] | None:
    """Return metrics over the updates; None where there are too few, or one is not known."""
    if len(rows) < 2 * limits.window:
        return None
    columns = [[row.get(name) for row in rows] for name in names]
    known = [[float(x) for x in column if x is not None] for column in columns]
    is_whole = all(len(each) == len(rows) and all(map(math.isfinite, each)) for each in known)
    return known if is_whole else None


def _moving_means(series: Sequence[float], window: int) -> list[float]:
    """Return the mean of each number and those before it, up to ``window`` of them.

    The first ones are means of fewer, which may be extreme by chance: they repeat the first of
    ``window`` numbers.
    """
    means = [fmean(series[i - window : i]) for i in range(window, len(series) + 1)]
    return [means[0]] * (window - 1) + means


def _drift(
    rows: Sequence[Metrics], limits: Limits, name: str, share: float
) -> tuple[float, float] | None:
    """Return a metric at first and now, if it has changed by more than a share of the first."""
    found = _series(rows, limits, name)
    if found is None:
        return None
    (series,) = found
    first, now = fmean(series[: limits.window]), fmean(series[-limits.window :])
    change = abs(now - first)
    is_large = change > share * abs(first) and is_clear(change, series, limits)
    return (first, now) if is_large else None


def _gain_per_nat(kl: Sequence[float], score: Sequence[float]) -> float | None:
    """Return the difference of the score's means of both halves over that of the KL's."""
    half = len(kl) // 2
    nats = fmean(kl[half:]) - fmean(kl[:half])
    return (fmean(score[half:]) - fmean(score[:half])) / nats if nats > 0 else None
