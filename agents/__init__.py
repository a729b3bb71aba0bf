"""Agents that learn in the token MDP, and the parts to build others from."""

from __future__ import annotations

from agents.agent import Agent
from agents.algorithm import Algorithm
from agents.best_of_n import BestOfN, BestOfNConfig
from agents.collect import collect
from agents.config import AgentConfig
from agents.grpo import DAPO, GRPO, GSPO, DrGRPO, GRPOAlgorithm, GRPOConfig
from agents.kl_penalty_ppo import KLPenaltyPPO, KLPenaltyPPOAlgorithm, KLPenaltyPPOConfig
from agents.policy import Description, Policy
from agents.ppo import PPO, PPOAlgorithm, PPOConfig
from agents.reinforce import Reinforce, ReinforceAlgorithm, ReinforceConfig
from agents.rloo import RLOO, RLOOAlgorithm, RLOOConfig
from agents.sft import SFT, SFTAlgorithm, SFTConfig
from agents.train import train
from agents.trpo import TRPO, TRPOAlgorithm, TRPOConfig

__all__ = [
    "DAPO",
    "GRPO",
    "GSPO",
    "PPO",
    "RLOO",
    "SFT",
    "TRPO",
    "Agent",
    "AgentConfig",
    "Algorithm",
    "BestOfN",
    "BestOfNConfig",
    "Description",
    "DrGRPO",
    "GRPOAlgorithm",
    "GRPOConfig",
    "KLPenaltyPPO",
    "KLPenaltyPPOAlgorithm",
    "KLPenaltyPPOConfig",
    "PPOAlgorithm",
    "PPOConfig",
    "Policy",
    "RLOOAlgorithm",
    "RLOOConfig",
    "Reinforce",
    "ReinforceAlgorithm",
    "ReinforceConfig",
    "SFTAlgorithm",
    "SFTConfig",
    "TRPOAlgorithm",
    "TRPOConfig",
    "collect",
    "train",
]
