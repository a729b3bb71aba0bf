"""The settings of agents that learn from episodes of any policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.settings.agent import AgentConfig
from agents.settings.behavior import BehaviorConfig
from agents.settings.kl import KLControl
from rlhf_env.checks import check_number

# Settings of a KL that is paid as a reward or beside it.
_REWARD_KL = ("placement", "estimator", "importance_ratio")


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig(BehaviorConfig, AgentConfig):
    """Settings of agents that learn from episodes of any policy, besides those of `AgentConfig`.

    The KL to the reference is part of what they solve for, so ``kl_coef`` must be above 0, and
    there is no other estimator or place of it to choose.
    """

    gamma: float = 1.0
    """Discount per decision, in [0, 1], of rewards and KL alike."""

    @property
    def learns_off_policy(self) -> bool:
        """Whether episodes of other policies teach it: they all do."""
        return True

    @property
    def unsupported(self) -> frozenset[str]:
        """Settings of `AgentConfig` that must stay at their defaults."""
        return frozenset(f"kl_{name}" for name in _REWARD_KL)

    @property
    def can_bootstrap(self) -> bool:
        """Whether episodes may be truncated: not without a value of the state after the last."""
        return False

    def __post_init__(self) -> None:
        """Refuse values outside their range, and settings of a KL that is paid."""
        super().__post_init__()
        if isinstance(self.gamma, Mapping):
            raise ValueError(
                "gamma must be one number, got one for each reward term: the soft value of a sum "
                "of rewards is no sum of values; give one discount for all, or choose PPO"
            )
        check_number("gamma", self.gamma, minimum=0.0, maximum=1.0)
        _ = self.behavior
        if self.kl_coef == 0:
            raise ValueError(
                "kl_coef must be above 0: without a KL to the reference there is no soft value, "
                "got 0; raise it, or choose an agent that follows a policy gradient"
            )
        own, usual = self.kl, KLControl()
        for name in _REWARD_KL:
            if getattr(own, name) != getattr(usual, name):
                raise ValueError(
                    f"kl_{name} is of a KL that is paid, and here it is part of the equation that "
                    f"is solved, got {getattr(own, name)!r}; leave it out, or choose an agent that "
                    "follows a policy gradient"
                )


def check_critic_rate(rate: float | None) -> None:
    """Raise ValueError unless a value head's own learning rate is None or at least 0."""
    if rate is not None:
        check_number("critic_learning_rate", rate, minimum=0.0)
