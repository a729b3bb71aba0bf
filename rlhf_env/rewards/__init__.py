"""Judges of responses."""

from rlhf_env.rewards.protocol import PrefixReward, Reward

__all__ = ["PrefixReward", "Reward"]
