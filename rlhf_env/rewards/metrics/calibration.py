"""Whether a forecast of 70 % comes true seven times in ten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.calibration import calibration_curve

from rlhf_env.statistics import Floats

BINS = 10


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A reliability curve; bins without a forecast are left out."""

    forecasts: tuple[float, ...]
    """Mean forecast of each bin, rising."""
    shares: tuple[float, ...]
    """Share of each bin's outcomes that came true."""
    counts: tuple[int, ...]
    """Outcomes of each bin."""

    @property
    def expected_error(self) -> float:
        """The expected calibration error: mean |share − forecast|, every outcome counting alike."""
        gaps = np.abs(np.subtract(self.shares, self.forecasts))
        return float(np.average(gaps, weights=self.counts))


def calibration(forecasts: Floats, outcomes: Floats, bins: int = BINS) -> Calibration:
    """Compare forecast probabilities with what came true, in bins with about as many of each.

    Args:
        forecasts: [N] probabilities.
        outcomes: [N] 1 for what came true, 0 for what did not.
        bins: how many; fewer are left where many forecasts are equal.
    """
    edges = np.percentile(forecasts, np.linspace(0, 100, bins + 1))
    counts = np.bincount(np.searchsorted(edges[1:-1], forecasts), minlength=bins)
    shares, means = calibration_curve(outcomes, forecasts, n_bins=bins, strategy="quantile")
    return Calibration(
        forecasts=tuple(means.tolist()),
        shares=tuple(shares.tolist()),
        counts=tuple(counts[counts > 0].tolist()),
    )


def pair_calibration(differences: Floats, bins: int = BINS) -> Calibration:
    """Return the calibration of σ(score difference) as the probability of being preferred.

    Each pair counts in both orders, since either response could have been named first.

    Args:
        differences: [P] score of the preferred response less that of the other.
        bins: as in `calibration`.
    """
    # The same function for both orders: opposite differences give equal numbers, and one bin.
    forecasts = expit(np.concatenate([differences, -differences]))
    return calibration(forecasts, np.repeat([1.0, 0.0], len(differences)), bins)
