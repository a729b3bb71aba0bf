"""The settings of best of n."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.agent import check_seed, check_temperature
from rlhf_env.checks import check_count, check_number


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig:
    """Settings of `BestOfN`, which trains nothing; those of `AgentConfig` mean the same there."""

    n: int = 16
    """Responses to choose from; 1 is the policy itself."""

    episodes_per_update: int = 64
    """Answers of each rollout, each chosen from n responses."""

    kl_coef: float | None = None
    """beta; None takes the environment's."""

    temperature: float = 1.0
    """Divides the logits of policy and reference in sampling."""

    seed: int = 0
    """Seed of all the agent's randomness."""

    @property
    def group_size(self) -> int:
        """1: answers to one prompt are not compared with each other."""
        return 1

    @property
    def can_bootstrap(self) -> bool:
        """False: a truncated response has no score to choose by."""
        return False

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        check_count("n", self.n)
        check_count("episodes_per_update", self.episodes_per_update)
        if self.kl_coef is not None:
            check_number("kl_coef", self.kl_coef, minimum=0.0)
        check_temperature(self.temperature)
        check_seed(self.seed)
