"""Agents that learn in the token MDP, and the parts to build others from."""

from __future__ import annotations

from agents.agent import Agent
from agents.algorithm import Algorithm
from agents.collect import collect
from agents.config import AgentConfig
from agents.grpo import DAPO, GRPO, GSPO, DrGRPO, GRPOAlgorithm, GRPOConfig
from agents.policy import Description, Policy
from agents.ppo import PPO, PPOAlgorithm, PPOConfig
from agents.train import train

__all__ = [
    "DAPO",
    "GRPO",
    "GSPO",
    "PPO",
    "Agent",
    "AgentConfig",
    "Algorithm",
    "Description",
    "DrGRPO",
    "GRPOAlgorithm",
    "GRPOConfig",
    "PPOAlgorithm",
    "PPOConfig",
    "Policy",
    "collect",
    "train",
]
