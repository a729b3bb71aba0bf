"""A frozen copy of the policy that follows it slowly, and the agents whose aims come from it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import nn

from agents.off_policy.agent import OffPolicyAgent
from agents.policy import Policy
from agents.settings.off_policy.values import TargetNetworkConfig
from agents.state_measures import StateMeasures
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


class TargetNetwork:
    """Weights that move a share of the way towards the policy's."""

    def __init__(self, policy: Policy) -> None:
        """Copy the model of a policy as it is now."""
        model = copy.deepcopy(policy.model).requires_grad_(False)
        self.lm = LanguageModel(model, policy.lm.vocab_size)

    @torch.no_grad()
    def follow(self, policy: Policy, rate: float) -> None:
        """Move towards the policy's present weights.

        Args:
            policy: whose model was copied.
            rate: in (0, 1]; 1 takes the weights over.
        """
        pairs = zip(self.lm.model.parameters(), policy.model.parameters(), strict=True)
        for own, theirs in pairs:
            own.lerp_(theirs, rate)


class TargetNetworkAgent(OffPolicyAgent):
    """An agent whose Q values are its policy's logits, aimed at by those of a target network.

    Q(s,a) = beta (z(s,a) − z_ref(s,a)) with the logits z of policy and reference, so that Q is 0
    at first, the soft value is V(s) = beta (log Σ_a exp z(s,a) − log Σ_a exp z_ref(s,a)), and the
    policy is pi_ref exp((Q − V)/beta): no head is added to the model, and it remains a language
    model. Checkpoints hold the target network.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], **arguments: Any) -> None:
        """Make an agent for an environment; ``arguments`` are those of `Agent`.

        Raises:
            ValueError: as `OffPolicyAgent`.
        """
        super().__init__(envs, **arguments)
        self.target = TargetNetwork(self.policy)

    @property
    def further_models(self) -> dict[str, nn.Module]:
        """Models besides the policy that checkpoints hold, by name."""
        return {"target": self.target.lm.model}

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout, then let the target network follow; see `Agent.update`."""
        metrics = super().update(rollout)
        assert isinstance(self.config, TargetNetworkConfig)
        self.target.follow(self.policy, self.config.target_rate)
        return metrics

    def target_network(self) -> LanguageModel:
        """Return the target network."""
        return self.target.lm

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        policy = super()._make_policy(model, **critic)
        policy.measures = StateMeasures(log_normalizer=True)
        return policy
