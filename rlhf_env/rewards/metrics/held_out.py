"""How well forecasts agree with ratings that nothing was fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, pearsonr

MIN_TEXTS = 4


@dataclass(frozen=True, kw_only=True)
class HeldOutFigures:
    """Agreement of forecasts and ratings."""

    texts: int
    """Number of rated texts."""
    pearson_r: float
    """Correlation of forecasts and ratings."""
    pearson_interval: tuple[float, float]
    """95 % interval of it (Fisher)."""
    sign_accuracy: float
    """How often forecast and rating lie on the same side of neutral."""
    sign_interval: tuple[float, float]
    """95 % interval of it (Wilson)."""

    def __str__(self) -> str:
        """Return one line for a person."""
        r_low, r_high = self.pearson_interval
        low, high = self.sign_interval
        return (
            f"{self.texts:,} held-out texts: r = {self.pearson_r:.3f} "
            f"[{r_low:.3f}, {r_high:.3f}], right sign {self.sign_accuracy:.1%} "
            f"[{low:.1%}, {high:.1%}]"
        )


def held_out_figures(
    forecasts: NDArray[np.float64], ratings: NDArray[np.float64], neutral: float = 0.0
) -> HeldOutFigures:
    """Compare forecasts with ratings.

    Texts rated exactly neutral have no sign and are left out of the sign accuracy.

    Args:
        forecasts: [B] what was expected.
        ratings: [B] the human ratings.
        neutral: the rating that is neither good nor bad.

    Raises:
        ValueError: if there are too few ratings, they do not differ, or none has a sign.
    """
    if forecasts.shape != ratings.shape:
        raise ValueError(
            f"forecasts and ratings must be equally many, got {forecasts.shape} and {ratings.shape}"
        )
    signed = ratings != neutral
    if len(ratings) < MIN_TEXTS or np.ptp(ratings) == 0.0 or not signed.any():
        raise ValueError(
            f"held-out ratings must be at least {MIN_TEXTS} and differ, got {len(ratings)} with "
            f"{len(np.unique(ratings))} different values; add more rated texts"
        )
    is_right = (forecasts > neutral) == (ratings > neutral)
    right = int(is_right[signed].sum())
    signs = binomtest(right, int(signed.sum())).proportion_ci(method="wilson")
    r, r_interval = _correlation(forecasts, ratings)
    return HeldOutFigures(
        texts=len(ratings),
        pearson_r=r,
        pearson_interval=r_interval,
        sign_accuracy=right / int(signed.sum()),
        sign_interval=(float(signs.low), float(signs.high)),
    )


def _correlation(
    forecasts: NDArray[np.float64], ratings: NDArray[np.float64]
) -> tuple[float, tuple[float, float]]:
    if np.ptp(forecasts) == 0.0:
        # Equal forecasts carry no information; the library would warn and return NaN.
        return 0.0, (-1.0, 1.0)
    found = pearsonr(forecasts, ratings)
    interval = found.confidence_interval()
    return float(found[0]), (float(interval.low), float(interval.high))  # type: ignore[arg-type]
