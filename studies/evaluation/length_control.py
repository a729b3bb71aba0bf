"""Win rates at equal length: what is left of a win rate when neither response is longer.

The length-controlled win rate of AlpacaEval (Dubois et al., arXiv:2404.04475): a logistic
regression of who wins on the difference of the lengths, read off where that difference is 0. Their
term for the difficulty of an instruction is left out: it is fitted on many models' answers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from rlhf_env.statistics import Estimate, Floats, Rows, bootstrap_rows, percentile_estimate

# Weak: it decides only where the longer response always wins, and no finite slope is best.
_INVERSE_PENALTY = 100.0
_RESAMPLES = 500


def length_controlled_win_rate(wins: ArrayLike, length_difference: ArrayLike) -> Estimate:
    """Return σ(θ) of the fit P(win) = σ(θ + φ · tanh(Δ / sd(Δ))).

    Args:
        wins: [N] 1 where the first response wins, 0 where the second does; a tie is 0.5, and any
            probability will do.
        length_difference: [N] length of the first response less that of the second.

    Returns:
        The win rate at Δ = 0 with a percentile bootstrap interval over pairs. Where all lengths
        are equal, or one side wins everywhere, it is the plain share of wins, without an interval.
    """
    won = np.asarray(wins, dtype=float)
    difference = np.asarray(length_difference, dtype=float)
    value = _at_equal_length(won, difference)
    if not difference.any() or won.min() == won.max():
        return Estimate(value=value, low=None, high=None, count=len(won))

    def of_pairs(drawn: Rows) -> Floats:
        flat = drawn.reshape(-1, drawn.shape[-1])
        found = [_at_equal_length(won[rows], difference[rows]) for rows in flat]
        return np.array(found).reshape(drawn.shape[:-1])

    return percentile_estimate(
        value, bootstrap_rows(of_pairs, len(won), resamples=_RESAMPLES), len(won)
    )


def _at_equal_length(wins: Floats, difference: Floats) -> float:
    spread = float(difference.std())
    if spread == 0 or wins.min() == wins.max():
        return float(wins.mean())
    feature = np.tanh(difference / spread)[:, None]
    # A pair of probability p is p of a win and 1 − p of a loss.
    model = LogisticRegression(C=_INVERSE_PENALTY, tol=1e-8, max_iter=1000)
    model.fit(
        np.concatenate([feature, feature]),
        np.repeat([1, 0], len(wins)),
        sample_weight=np.concatenate([wins, 1 - wins]),
    )
    return float(expit(np.asarray(model.intercept_)[0]))
