"""How the policy that samples differs from the one that learns: four settings, and their record."""

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


@dataclass(frozen=True, kw_only=True)
class BehaviorConfig:
    """The four settings, as agents have them; a class of settings takes them in as a base."""

    staleness: int = 0
    """Samples the episodes of an update with the weights of so many updates earlier, as an
    asynchronous trainer does. It costs as many copies of the trained weights, in memory and in
    checkpoints."""

    behavior_noise: float | str = 0.0
    """Perturbs the sampler's logits: the standard deviation of Gaussian noise, a fixed function of
    seed, update and state; or "bf16", which rounds them to 16 bits."""

    top_k: int | None = None
    """Samples from so many of the most likely tokens; None from all. The policy that learns keeps
    all of them, so importance ratios cannot repair what is never sampled."""

    top_p: float | None = None
    """Samples from the most likely tokens that have this probability together (nucleus sampling,
    arXiv:1904.09751), after the temperature and ``top_k``; None from all."""

    @property
    def behavior(self) -> Behavior:
        """How the policy that samples differs from the one that learns."""
        return Behavior(
            staleness=self.staleness,
            noise=self.behavior_noise,
            top_k=self.top_k,
            top_p=self.top_p,
        )
