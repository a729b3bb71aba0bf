"""The settings of the agents, checked on construction; nothing here imports torch."""

from agents.settings.actor_critic import ActorCriticConfig
from agents.settings.agent import AgentConfig
from agents.settings.best_of_n import BestOfNConfig
from agents.settings.discount import GRADIENT_FORMS, Discount
from agents.settings.group import (
    DAPOConfig,
    DrGRPOConfig,
    GroupConfig,
    GRPOConfig,
    GSPOConfig,
    RLOOConfig,
)
from agents.settings.kl import KL_ESTIMATORS, KL_PLACEMENTS, KL_TARGET_UNITS, KLControl
from agents.settings.policy_gradient import IMPORTANCE
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
    SelfPlayConfig,
    SimPOConfig,
    SPPOConfig,
    TDPOConfig,
    XPOConfig,
)
from agents.settings.registry import BUILT_IN_AGENTS, BuiltInAgent
from agents.settings.reinforce import BASELINES, ReinforceConfig
from agents.settings.sft import SFTConfig
from agents.settings.trpo import TRPOConfig, TrustRegionConfig

__all__ = [
    "BASELINES",
    "BUILT_IN_AGENTS",
    "GRADIENT_FORMS",
    "IMPORTANCE",
    "KL_ESTIMATORS",
    "KL_PLACEMENTS",
    "KL_TARGET_UNITS",
    "ActorCriticConfig",
    "AgentConfig",
    "BCOConfig",
    "BestOfNConfig",
    "BuiltInAgent",
    "CPOConfig",
    "DAPOConfig",
    "DNOConfig",
    "DROConfig",
    "Discount",
    "DrGRPOConfig",
    "GRPOConfig",
    "GSPOConfig",
    "GroupConfig",
    "IPOConfig",
    "KLControl",
    "KLPenaltyPPOConfig",
    "KTOConfig",
    "LiPOConfig",
    "NashMDConfig",
    "ORPOConfig",
    "PPOConfig",
    "PreferenceConfig",
    "RDPOConfig",
    "RLOOConfig",
    "ReinforceConfig",
    "SFTConfig",
    "SPPOConfig",
    "SelfPlayConfig",
    "SimPOConfig",
    "TDPOConfig",
    "TRPOConfig",
    "TrustRegionConfig",
    "XPOConfig",
]
