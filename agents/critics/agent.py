"""An agent with a critic: how it begins, when it learns alone, and how far it is from the truth."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from torch import nn

from agents.agent import Agent
from agents.critics.loading import load_critic
from agents.critics.monte_carlo import check_continuable, monte_carlo_values
from agents.critics.truth import check_known, critic_errors
from agents.policy import Policy, PolicyOutput
from agents.rollouts.sampling_plan import Stream
from agents.rollouts.values import with_values
from agents.settings.actor_critic import ActorCriticConfig
from agents.settings.discount import value_names
from rlhf_env.rollout import Rollout


class ActorCritic(Agent):
    """An agent with a critic: an output for each discount, or means of continuations."""

    config_class = ActorCriticConfig

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        *,
        critic_from: str | Path | None = None,
        **arguments: Any,
    ) -> None:
        """Make an agent for an environment.

        Args:
            envs: a vector environment of RLHF-v0, with or without wrappers.
            critic_from: a checkpoint of an agent with the same model and discounts, whose critic
                this one begins with; see `agents.critics.loading.load_critic`.
            **arguments: those of `Agent`.

        Raises:
            ValueError: as `Agent`; if the checkpoint's critic does not fit, episodes cannot be
                continued for ``critic="monte_carlo"``, or the exact values that ``critic_truth``
                asks for cannot be computed.
        """
        super().__init__(envs, **arguments)
        if self._critic.is_monte_carlo:
            check_continuable(self)
        if self._critic.critic_truth:
            check_known(self)
        if critic_from is not None:
            if self._critic.is_monte_carlo:
                raise ValueError(
                    f"critic_from is for a critic that learns, got {str(critic_from)!r} with "
                    'critic="monte_carlo"; leave it out, or take "shared" or "separate"'
                )
            load_critic(self, Path(critic_from))

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout, with the critic alone in its warm-up; see `Agent.update`."""
        warmup = self._critic.critic_warmup_updates
        if not warmup:
            return super().update(rollout)
        is_warming = self.updates < warmup
        with self.learner.critic_only() if is_warming else nullcontext():
            return super().update(rollout) | {"is_warmup": float(is_warming)}

    def targets(
        self, rollout: Rollout, old: PolicyOutput, generator: np.random.Generator | None = None
    ) -> tuple[Any, dict[str, float]]:
        """Return what one update aims at; see `Agent.targets`.

        A Monte Carlo critic goes on from every decision; without a generator, as where expectations
        are enumerated, its values are those in ``old``.
        """
        figures: dict[str, float] = {}
        if self._critic.is_monte_carlo and generator is not None:
            drawn = self._generator(Stream.CRITIC)
            found = monte_carlo_values(self, rollout, self._critic.critic_rollouts, drawn)
            old = with_values(old, rollout, found.values)
            figures["critic_tokens"] = float(found.tokens)
        if self._critic.critic_truth and generator is not None:
            figures |= critic_errors(self, rollout, old)
        targets, known = super().targets(rollout, old, generator)
        return targets, known | figures

    @property
    def _critic(self) -> ActorCriticConfig:
        config = self.config
        assert isinstance(config, ActorCriticConfig)
        return config

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        config = self._critic
        return super()._make_policy(
            model,
            value_names=value_names(config.gamma),
            critic=copy.deepcopy(model) if config.critic == "separate" else None,
            **critic,
        )
