"""Numbers as pages show them."""

from __future__ import annotations

import math

from rlhf_env.statistics import Estimate


def shown(value: float) -> str:
    """Return three significant digits, at most four after the point, for example "-0.0123".

    Rounded to nine digits first: a tie must not be broken by what a sum's order leaves.
    """
    if not math.isfinite(value):
        return "none"
    exact = float(f"{value:.9g}")
    if exact == 0 or abs(exact) < 5e-13:
        return "0"
    if abs(exact) < 1e-3 or abs(exact) >= 1e5:
        return f"{exact:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(exact))))
    return f"{exact:.{min(digits, 4)}f}"


def shown_estimate(found: Estimate | None) -> str:
    """Return a number with its interval, for example "0.812 [0.790, 0.833]"."""
    if found is None:
        return "none"
    if found.low is None or found.high is None:
        return shown(found.value)
    return f"{shown(found.value)} [{shown(found.low)}, {shown(found.high)}]"
