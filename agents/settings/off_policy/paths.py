"""The settings of agents whose loss is the residual of a path through an episode."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.off_policy.common import OffPolicyConfig
from rlhf_env.checks import check_choice, check_count, check_number

LOG_Z = ("group", "learned")
"""Where log Z of trajectory balance comes from: the mean of a group, or the value head."""


@dataclass(frozen=True, kw_only=True)
class PCLConfig(OffPolicyConfig):
    """Settings of `PCL`, besides those of `OffPolicyConfig`."""

    path_length: int | None = None
    """Decisions of the longest sub-path; shorter ones are those that reach the end of an episode.
    None takes every sub-path of every length."""

    value_coef: float = 1.0
    """Scales the gradient in the values: the authors train them at a learning rate of their own."""

    critic_learning_rate: float | None = None
    """Adam's learning rate of the value head; None takes the policy's."""

    @property
    def can_bootstrap(self) -> bool:
        """True: the value head completes a truncated episode."""
        return True

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_number("value_coef", self.value_coef, minimum=0.0)
        _check_rate(self.critic_learning_rate)
        if self.path_length is not None:
            check_count("path_length", self.path_length)


@dataclass(frozen=True, kw_only=True)
class TrajectoryBalanceConfig(OffPolicyConfig):
    """Settings of `TrajectoryBalance`, besides those of `OffPolicyConfig`."""

    group_size: int = 4

    log_z: str = "group"
    """"group", the mean over the responses to one prompt, or "learned", by the value head."""

    critic_learning_rate: float | None = None
    """Adam's learning rate of the value head, for ``log_z="learned"``; None takes the policy's."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and groups of one."""
        super().__post_init__()
        check_choice("log_z", self.log_z, LOG_Z)
        _check_rate(self.critic_learning_rate)
        if self.log_z == "learned":
            return
        check_count("group_size", self.group_size, minimum=2)
        if self.critic_learning_rate is not None:
            raise ValueError(
                f"critic_learning_rate is of a log Z that is learned, got "
                f'{self.critic_learning_rate:g} with log_z="group"; leave it out, or set '
                'log_z="learned"'
            )


@dataclass(frozen=True, kw_only=True)
class TBRMConfig(OffPolicyConfig):
    """Settings of `TBRM`: those of `OffPolicyConfig`."""


@dataclass(frozen=True, kw_only=True)
class ReValConfig(OffPolicyConfig):
    """Settings of `ReVal`: those of `OffPolicyConfig`."""


@dataclass(frozen=True, kw_only=True)
class ShiQConfig(OffPolicyConfig):
    """Settings of `ShiQ`: those of `OffPolicyConfig`."""


def _check_rate(rate: float | None) -> None:
    if rate is not None:
        check_number("critic_learning_rate", rate, minimum=0.0)
