"""The settings of agents that learn from episodes of any policy; nothing here imports torch."""

from agents.settings.off_policy.common import OffPolicyConfig
from agents.settings.off_policy.paths import (
    PCLConfig,
    ReValConfig,
    ShiQConfig,
    TBRMConfig,
    TrajectoryBalanceConfig,
)

__all__ = [
    "OffPolicyConfig",
    "PCLConfig",
    "ReValConfig",
    "ShiQConfig",
    "TBRMConfig",
    "TrajectoryBalanceConfig",
]
