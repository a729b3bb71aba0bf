"""The built-in agents by the names that commands use, with their settings, without torch."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.settings.best_of_n import BestOfNConfig
from agents.settings.group import (
    DAPOConfig,
    DrGRPOConfig,
    GroupConfig,
    GRPOConfig,
    GSPOConfig,
    RLOOConfig,
)
from agents.settings.off_policy import (
    AStarPOConfig,
    ILQLConfig,
    OREOConfig,
    PCLConfig,
    ReValConfig,
    ShiQConfig,
    SoftQConfig,
    TBRMConfig,
    TrajectoryBalanceConfig,
)
from agents.settings.ppo import KLPenaltyPPOConfig, PPOConfig
from agents.settings.preference import PreferenceConfig
from agents.settings.preference_methods import (
    BCOConfig,
    CPOConfig,
    DNOConfig,
    DROConfig,
    IPOConfig,
    KTOConfig,
    LiPOConfig,
    NashMDConfig,
    ORPOConfig,
    RDPOConfig,
    SimPOConfig,
    SPPOConfig,
    TDPOConfig,
    XPOConfig,
)
from agents.settings.reinforce import BASELINES, ReinforceConfig
from agents.settings.trpo import TRPOConfig

_FULL_LENGTH_LIMITS = ("score", "penalize")


def compares_groups(config_class: type[Any]) -> bool:
    """Return whether agents of some settings compare the responses to a prompt."""
    return issubclass(config_class, GroupConfig | PreferenceConfig | TrajectoryBalanceConfig)


@dataclass(frozen=True, kw_only=True)
class BuiltInAgent:
    """What is known of an agent before torch is imported."""

    path: str
    """Where its class is, as "module:Class"."""

    config_class: type[Any]
    """The dataclass of its settings."""

    preset: Mapping[str, Any] = field(default_factory=dict)
    """Settings that turn its class into this agent."""

    @property
    def class_name(self) -> str:
        """The name of its class."""
        return self.path.partition(":")[2]

    @property
    def defaults(self) -> Any:
        """Its default settings."""
        return self.config_class(**self.preset)

    @property
    def settings(self) -> frozenset[str]:
        """Names of the settings that it takes.

        ``group_size`` is among them only where responses to one prompt are compared.
        """
        names = {one.name for one in dataclasses.fields(self.config_class)}
        names -= getattr(self.defaults, "unsupported", frozenset())
        return frozenset(names if self.compares_groups else names - {"group_size"})

    @property
    def compares_groups(self) -> bool:
        """Whether the responses to a prompt are compared."""
        return compares_groups(self.config_class)

    @property
    def takes_preferences(self) -> bool:
        """Whether it learns from comparisons that it is given."""
        return getattr(self.config_class, "takes_preferences", False)

    @property
    def minibatches(self) -> int:
        """Its default number of minibatches, which must divide the episodes of an update."""
        return getattr(self.defaults, "minibatches", 1)

    @property
    def length_limits(self) -> tuple[str, ...]:
        """Values of the environment's ``length_limit`` under which it can learn."""
        return (*_FULL_LENGTH_LIMITS, *(("bootstrap",) if self.defaults.can_bootstrap else ()))

    def load(self) -> type[Any]:
        """Import its class, and torch with it."""
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)


BUILT_IN_AGENTS: Mapping[str, BuiltInAgent] = {
    "ppo": BuiltInAgent(path="agents:PPO", config_class=PPOConfig),
    "grpo": BuiltInAgent(path="agents:GRPO", config_class=GRPOConfig),
    "kl_penalty_ppo": BuiltInAgent(path="agents:KLPenaltyPPO", config_class=KLPenaltyPPOConfig),
    "trpo": BuiltInAgent(path="agents:TRPO", config_class=TRPOConfig),
    "reinforce": BuiltInAgent(path="agents:Reinforce", config_class=ReinforceConfig),
    **{
        f"reinforce_{baseline}": BuiltInAgent(
            path="agents:Reinforce", config_class=ReinforceConfig, preset={"baseline": baseline}
        )
        for baseline in BASELINES
        if baseline != ReinforceConfig.baseline
    },
    "dr_grpo": BuiltInAgent(path="agents:DrGRPO", config_class=DrGRPOConfig),
    "dapo": BuiltInAgent(path="agents:DAPO", config_class=DAPOConfig),
    "gspo": BuiltInAgent(path="agents:GSPO", config_class=GSPOConfig),
    "rloo": BuiltInAgent(path="agents:RLOO", config_class=RLOOConfig),
    "dpo": BuiltInAgent(path="agents:DPO", config_class=PreferenceConfig),
    "ipo": BuiltInAgent(path="agents:IPO", config_class=IPOConfig),
    "simpo": BuiltInAgent(path="agents:SimPO", config_class=SimPOConfig),
    "orpo": BuiltInAgent(path="agents:ORPO", config_class=ORPOConfig),
    "cpo": BuiltInAgent(path="agents:CPO", config_class=CPOConfig),
    "rdpo": BuiltInAgent(path="agents:RDPO", config_class=RDPOConfig),
    "tdpo": BuiltInAgent(path="agents:TDPO", config_class=TDPOConfig),
    "sppo": BuiltInAgent(path="agents:SPPO", config_class=SPPOConfig),
    "kto": BuiltInAgent(path="agents:KTO", config_class=KTOConfig),
    "bco": BuiltInAgent(path="agents:BCO", config_class=BCOConfig),
    "dro": BuiltInAgent(path="agents:DRO", config_class=DROConfig),
    "dno": BuiltInAgent(path="agents:DNO", config_class=DNOConfig),
    "nash_md": BuiltInAgent(path="agents:NashMD", config_class=NashMDConfig),
    "xpo": BuiltInAgent(path="agents:XPO", config_class=XPOConfig),
    "lipo": BuiltInAgent(path="agents:LiPO", config_class=LiPOConfig),
    "pcl": BuiltInAgent(path="agents:PCL", config_class=PCLConfig),
    "trajectory_balance": BuiltInAgent(
        path="agents:TrajectoryBalance", config_class=TrajectoryBalanceConfig
    ),
    "tbrm": BuiltInAgent(path="agents:TBRM", config_class=TBRMConfig),
    "reval": BuiltInAgent(path="agents:ReVal", config_class=ReValConfig),
    "shiq": BuiltInAgent(path="agents:ShiQ", config_class=ShiQConfig),
    "oreo": BuiltInAgent(path="agents:OREO", config_class=OREOConfig),
    "a_star_po": BuiltInAgent(path="agents:AStarPO", config_class=AStarPOConfig),
    "soft_q": BuiltInAgent(path="agents:SoftQ", config_class=SoftQConfig),
    "ilql": BuiltInAgent(path="agents:ILQL", config_class=ILQLConfig),
    "best_of_n": BuiltInAgent(path="agents:BestOfN", config_class=BestOfNConfig),
}
"""Agents that learn, or choose, by rewards. `SFT` is not among them: it needs demonstrations.

Those of preference optimization compare their own responses by the reward unless they are given
data.
"""
