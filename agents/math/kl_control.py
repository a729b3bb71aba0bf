"""The controller of the KL coefficient."""

from __future__ import annotations


def adaptive_kl_coef(
    kl_coef: float, observed: float, target: float, episodes: int, horizon: int
) -> float:
    """Return the next KL coefficient of a proportional controller.

    β ← β (1 + clip(KL / target − 1, ±0.2) · episodes / horizon)   (arXiv:1909.08593)

    Args:
        kl_coef: the current β.
        observed: the measured KL, in the unit of ``target`` (nats per sequence or per token).
        target: the target KL, > 0.
        episodes: seen since the last call.
        horizon: episodes over which a full error changes β by 20 %.

    Raises:
        ValueError: if the observed KL is not a number, or the target is not positive.
    """
    if not target > 0:
        raise ValueError(f"target KL must be greater than 0, got {target}")
    if observed != observed:
        raise ValueError("observed KL must be a number, got nan; the coefficient is unchanged")
    error = min(max(observed / target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * episodes / horizon)
