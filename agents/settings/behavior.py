"""How the policy that samples differs from the one that learns: four settings in one record."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_env.checks import check_count, check_number

BF16 = "bf16"
"""In place of a size of noise: logits rounded to 16 bits."""


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """The settings of an agent's sampler; checked on construction."""

    staleness: int = 0
    """How many updates old its weights are."""

    noise: float | str = 0.0
    """Standard deviation of noise on its logits, or `BF16`."""

    top_k: int | None = None
    """How many of the most likely tokens it chooses from; all when None."""

    top_p: float | None = None
    """Probability of the most likely tokens that it chooses from; all when None."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        check_count("staleness", self.staleness, minimum=0)
        if isinstance(self.noise, str):
            if self.noise != BF16:
                raise ValueError(
                    f"behavior_noise must be a standard deviation >= 0 or {BF16!r}, got "
                    f"{self.noise!r}"
                )
        else:
            check_number("behavior_noise", self.noise, minimum=0.0)
        if self.top_k is not None:
            check_count("top_k", self.top_k)
        if self.top_p is not None:
            check_number("top_p", self.top_p, minimum=1e-6, maximum=1.0)

    @property
    def is_distorted(self) -> bool:
        """Whether its probabilities are not those of its weights."""
        return self.noise != 0.0 or self.top_k is not None or self.top_p is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The agent's names of the settings that are not at their default."""
        named = {
            "staleness": self.staleness,
            "behavior_noise": self.noise,
            "top_k": self.top_k,
            "top_p": self.top_p,
        }
        return tuple(name for name, value in named.items() if value not in (0, None))
