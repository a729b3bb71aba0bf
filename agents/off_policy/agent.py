"""An agent that learns from episodes of any policy: its own, an earlier one's, or another's."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from agents.agent import Agent
from agents.settings.off_policy import OffPolicyConfig


class OffPolicyAgent(Agent):
    """An agent whose loss is zero at the optimum, whoever sampled the episodes.

    Its algorithm reads ``Rollout.reward_terms`` without "kl", and the log-ratio of the policy that
    is being trained: ``Rollout.rewards`` hold the KL of the policy that acted, which is out of date
    on old episodes.
    """

    config: OffPolicyConfig
    config_class = OffPolicyConfig

    def __init__(self, envs: VectorEnv[Any, Any, Any], **arguments: Any) -> None:
        """Make an agent for an environment.

        Args:
            envs: a vector environment of RLHF-v0, with or without wrappers.
            **arguments: those of `Agent`.

        Raises:
            ValueError: as `Agent`; if the environment's KL coefficient is 0 and the settings have
                none.
        """
        super().__init__(envs, **arguments)
        if self.kl_coef == 0:
            raise ValueError(
                f"{type(self).__name__} needs a KL coefficient above 0, without which there is no "
                "soft value, got an environment with kl_coef = 0; set kl_coef"
            )
