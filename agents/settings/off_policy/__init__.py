"""The settings of agents that learn from episodes of any policy; nothing here imports torch."""

from agents.settings.off_policy.common import OffPolicyConfig
from agents.settings.off_policy.paths import (
    PCLConfig,
    ReValConfig,
    ShiQConfig,
    TBRMConfig,
    TrajectoryBalanceConfig,
)
from agents.settings.off_policy.values import (
    AStarPOConfig,
    ILQLConfig,
    OREOConfig,
    SoftQConfig,
)

__all__ = [
    "AStarPOConfig",
    "ILQLConfig",
    "OREOConfig",
    "OffPolicyConfig",
    "PCLConfig",
    "ReValConfig",
    "ShiQConfig",
    "SoftQConfig",
    "TBRMConfig",
    "TrajectoryBalanceConfig",
]
