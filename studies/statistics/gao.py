"""How the gold score diverges from the proxy's: the two laws of Gao, Schulman and Hilton, fitted.

With d the square root of KL(policy ‖ reference) in nats, and the gold score counted from that of
the reference (arXiv:2210.10760, section 3)::

    best-of-n   R(d) = d (α − β d)
    RL          R(d) = d (α − β log d)

Pure functions of numbers; nothing is read or drawn in here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit

Floats = NDArray[np.float64]
# Two numbers are fitted, so two points would always agree.
LEAST_POINTS = 3


@dataclass(frozen=True, kw_only=True)
class Form:
    """One of the two laws."""

    name: str
    """As a table has it."""
    gain: Callable[[Floats, float, float], Floats]
    """(distance, alpha, beta) -> gold score gained."""
    peak: Callable[[float, float], float]
    """(alpha, beta) -> distance at which the gain is largest; asked for beta > 0 only."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law with the numbers that fit best."""

    form: Form
    """The law."""
    alpha: float
    """How fast gold rises at first."""
    beta: float
    """How strongly over-optimization reverses it."""
    r_squared: float
    """Share of the variance that the law explains; below 0 where it is worse than none."""

    def gain(self, distance: ArrayLike) -> Floats:
        """Return the gold score gained at some distances."""
        return self.form.gain(np.asarray(distance, dtype=float), self.alpha, self.beta)

    @property
    def peak(self) -> tuple[float, float] | None:
        """Distance and height of the largest gain; None where the law has no finite one above 0."""
        if self.beta <= 0.0:
            return None
        distance = self.form.peak(self.alpha, self.beta)
        if not 0.0 < distance < math.inf:
            return None
        return distance, float(self.gain(distance))


def best_of_n_gain(distance: ArrayLike, alpha: float, beta: float) -> Floats:
    """Return d (α − β d), the law of best-of-n sampling."""
    d = np.asarray(distance, dtype=float)
    return d * (alpha - beta * d)


def rl_gain(distance: ArrayLike, alpha: float, beta: float) -> Floats:
    """Return d (α − β log d), the law of reinforcement learning; 0 at distance 0."""
    d = np.asarray(distance, dtype=float)
    return d * (alpha - beta * np.log(np.where(d > 0.0, d, 1.0)))


def best_of_n_peak(alpha: float, beta: float) -> float:
    """Return the distance α / 2β at which `best_of_n_gain` is largest."""
    return alpha / (2.0 * beta)


def rl_peak(alpha: float, beta: float) -> float:
    """Return the distance exp(α / β − 1) at which `rl_gain` is largest; infinite if too far."""
    with np.errstate(over="ignore"):
        return float(np.exp(alpha / beta - 1.0))


BEST_OF_N = Form(name="best-of-n", gain=best_of_n_gain, peak=best_of_n_peak)
RL = Form(name="RL", gain=rl_gain, peak=rl_peak)


def fit(form: Form, distance: ArrayLike, gain: ArrayLike) -> Fit | None:
    """Return the law with the smallest squared error.

    Args:
        form: the law.
        distance: [N] square root of the KL in nats, >= 0; points that are not finite are left out.
        gain: [N] gold score less that of the reference.

    Returns:
        The fit; None where fewer than three distances differ, or the gain never does.
    """
    d, r = np.asarray(distance, dtype=float), np.asarray(gain, dtype=float)
    known = np.isfinite(d) & np.isfinite(r)
    d, r = d[known], r[known]
    spread = float(np.sum((r - r.mean()) ** 2)) if len(r) else 0.0
    if len(np.unique(d[d > 0.0])) < LEAST_POINTS or spread == 0.0:
        return None
    (alpha, beta), _ = curve_fit(form.gain, d, r, p0=(1.0, 1.0))
    missed = float(np.sum((r - form.gain(d, alpha, beta)) ** 2))
    return Fit(form=form, alpha=float(alpha), beta=float(beta), r_squared=1.0 - missed / spread)
