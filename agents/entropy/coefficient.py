"""The weight of the entropy bonus: fixed, or moved until the entropy is at its target."""

from __future__ import annotations

from typing import Any

from agents.settings.agent import AgentConfig


def next_entropy_coef(
    coefficient: float, observed: float, target: float, step: float, largest: float
) -> float:
    """Return the coefficient after an update.

    c + step where H < target, c - step where H > target, kept in [0, largest]   (arXiv:2505.22312)

    Args:
        coefficient: c.
        observed: H of the update, nats per token.
        target: in the same unit.
        step: by how much it moves.
        largest: upper bound.

    Raises:
        ValueError: if the observed entropy is not a number.
    """
    if observed != observed:
        raise ValueError("observed entropy must be a number, got nan; the coefficient is unchanged")
    if observed == target:
        return coefficient
    moved = coefficient + (step if observed < target else -step)
    return min(max(moved, 0.0), largest)


class EntropyControl:
    """Keeps an agent's coefficient of the entropy bonus."""

    def __init__(self, config: AgentConfig) -> None:
        """Start from ``config.entropy_coef``; agents without a target keep it."""
        self._config: Any = config
        self._target: float | None = getattr(config, "entropy_target", None)
        self._coefficient = config.entropy_coef
        # Before the first update nothing is known, and the settings hold.
        self._is_low = True

    @property
    def value(self) -> float:
        """Weight of the bonus in the next update; 0 while the entropy is above its target."""
        return self._coefficient if self._is_low else 0.0

    def observe(self, entropy: float) -> None:
        """Move the coefficient by the entropy of an update, nats per token."""
        if self._target is None:
            return
        config = self._config
        self._coefficient = next_entropy_coef(
            self._coefficient,
            entropy,
            self._target,
            config.entropy_coef_step,
            config.entropy_coef_max,
        )
        self._is_low = entropy <= self._target

    def state(self) -> dict[str, float]:
        """Return what a checkpoint must keep."""
        return {"coefficient": self._coefficient, "is_low": float(self._is_low)}

    def load_state(self, state: dict[str, float]) -> None:
        """Restore what `state` returned."""
        self._coefficient, self._is_low = state["coefficient"], bool(state["is_low"])
