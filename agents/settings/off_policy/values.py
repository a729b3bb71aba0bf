"""The settings of agents that learn values: of a path's every suffix, of prompts, or of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.off_policy.common import OffPolicyConfig, check_critic_rate
from agents.settings.policy_gradient import AGGREGATIONS
from rlhf_env.checks import check_choice, check_count, check_number, check_positive


@dataclass(frozen=True, kw_only=True)
class OREOConfig(OffPolicyConfig):
    """Settings of `OREO`, besides those of `OffPolicyConfig`."""

    aggregation: str = "sum"
    """How the decisions of long and short episodes weigh: "sum" and, up to the sampling of lengths,
    "decision_mean" count all alike. "episode_mean", the authors', counts those of short episodes
    more, and moves the optimum where the environment ends episodes by chance."""

    value_coef: float = 1.0
    """Weight of the value's loss; the authors train it by an optimizer of its own."""

    critic_learning_rate: float | None = None
    """Adam's learning rate of the value head; None takes the policy's."""

    kl_reg: float = 0.0
    """Weight of KL(pi || pi_ref) in the loss, estimated by k3 of the tokens in the data and
    aggregated as the decisions are, as in the authors' code, whose scripts have 0.01. Above 0 the
    optimum is no longer that of the RLHF objective."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_choice("aggregation", self.aggregation, AGGREGATIONS[:-1])
        check_number("value_coef", self.value_coef, minimum=0.0)
        check_number("kl_reg", self.kl_reg, minimum=0.0)
        check_critic_rate(self.critic_learning_rate)


@dataclass(frozen=True, kw_only=True)
class AStarPOConfig(OffPolicyConfig):
    """Settings of `AStarPO`, besides those of `OffPolicyConfig`."""

    value_samples: int = 8
    """Responses of the reference to each prompt, drawn once, that V*(x) is estimated from."""

    value_kl_coef: float | None = None
    """beta_1, of V*(x); None takes the KL coefficient, beta_2. The authors have 0.5 beside a beta_2
    of 0.001; with two different ones no policy has zero loss."""

    @property
    def unsupported(self) -> frozenset[str]:
        """Settings that must stay at their defaults."""
        return super().unsupported | {"gamma"}

    def __post_init__(self) -> None:
        """Refuse values outside their range, and discounts."""
        super().__post_init__()
        check_count("value_samples", self.value_samples)
        if self.value_kl_coef is not None:
            check_positive("value_kl_coef", self.value_kl_coef)
        if self.gamma != 1:
            raise ValueError(
                "gamma must be 1: V*(x) is a mean over whole responses, got "
                f"{self.gamma!r}; leave it out, or choose an agent with values of states, such as "
                "OREO"
            )


@dataclass(frozen=True, kw_only=True)
class TargetNetworkConfig(OffPolicyConfig):
    """Settings of agents with a target network, besides those of `OffPolicyConfig`."""

    target_rate: float = 0.1
    """How far the target network moves towards the policy after each update; 1 makes it a copy."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_number("target_rate", self.target_rate, minimum=1e-6, maximum=1.0)


@dataclass(frozen=True, kw_only=True)
class SoftQConfig(TargetNetworkConfig):
    """Settings of `SoftQ`: those of `TargetNetworkConfig`."""


@dataclass(frozen=True, kw_only=True)
class ILQLConfig(TargetNetworkConfig):
    """Settings of `ILQL`, besides those of `TargetNetworkConfig`."""

    expectile: float = 0.7
    """tau of V among the Q of the tokens in the data: 0.5 is their mean, near 1 the largest."""

    conservative_coef: float = 0.1
    """Weight of the CQL term, which lowers Q of tokens that are not in the data."""

    value_coef: float = 1.0
    """Weight of the loss of V."""

    critic_learning_rate: float | None = None
    """Adam's learning rate of the value head; None takes the policy's."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        for name in ("conservative_coef", "value_coef"):
            check_number(name, getattr(self, name), minimum=0.0)
        check_critic_rate(self.critic_learning_rate)
        check_number("expectile", self.expectile, minimum=1e-6, maximum=1.0 - 1e-6)
