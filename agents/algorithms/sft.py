"""Supervised fine-tuning: imitate demonstrations, the stage before learning from a reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.agent import Agent
from agents.algorithms.demonstrations import Demonstration, encode_demonstrations
from agents.policy import PolicyOutput
from agents.rollouts.given import given_rollout
from agents.rollouts.sampling_plan import Stream
from agents.settings.sft import SFTConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class SFTTargets:
    """The weights of the cross-entropy."""

    weight: Tensor
    """[B] weight of each episode's sum over tokens in the mean over episodes."""


@dataclass(frozen=True)
class SFTAlgorithm:
    """The mean cross-entropy of response tokens; prompts are read, not learned."""

    config: SFTConfig
    reads_old: bool = False

    def targets(self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel) -> SFTTargets:
        """Return the weights; see `Algorithm.targets`."""
        weight = len(rollout) / rollout.is_action.sum()
        return SFTTargets(weight=weight.expand(len(rollout)))

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: SFTTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode, nats per token; see `Algorithm.loss`."""
        losses = -new.logprobs.sum(dim=1) * targets.weight
        return losses, {"cross_entropy": losses}


class SFT(Agent):
    """Fine-tune the policy on demonstrations.

    The score that is logged is that of the demonstrations, a yardstick for the agents that come
    after; ``kl`` is their mean log-ratio. For the next stage take ``agent.policy.model`` as the
    task's reference.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task=task)  # doctest: +SKIP
        >>> pairs = [("Tell me of the soup.", " It was warm."), ...]  # doctest: +SKIP
        >>> agent = SFT(envs, demonstrations=pairs)  # doctest: +SKIP
        >>> agent.learn(3 * len(pairs))  # doctest: +SKIP
        >>> task = dataclasses.replace(task, reference=agent.policy.model)  # doctest: +SKIP
    """

    config: SFTConfig
    config_class = SFTConfig
    algorithm_class = SFTAlgorithm
    takes_sampler = False

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        *,
        demonstrations: Sequence[tuple[Any, Any]],
        **arguments: Any,
    ) -> None:
        """Make an agent that imitates.

        Args:
            envs: a vector environment of RLHF-v0.
            demonstrations: pairs of prompt and response: see `encode_demonstrations`.
            **arguments: of `Agent`.

        Raises:
            ValueError: if a demonstration or a setting cannot be used.
        """
        super().__init__(envs, **arguments)
        self.demonstrations = encode_demonstrations(demonstrations, self.base.task)

    def resample(self, draw: int) -> Rollout:
        """Return the demonstrations of the next update, each once per pass through all of them."""
        size, count = self.config.episodes_per_update, len(self.demonstrations)
        first = (self.updates + draw) * size
        numbers = [self._order(at // count)[at % count] for at in range(first, first + size)]
        return self._as_rollout([self.demonstrations[i] for i in numbers])

    def cross_entropy(self, demonstrations: Sequence[tuple[Any, Any]]) -> dict[str, float]:
        """Return how well the policy predicts other demonstrations, such as those held out.

        Args:
            demonstrations: as the agent was given.

        Returns:
            ``cross_entropy`` (nats per response token) and ``perplexity``.
        """
        rollout = self._as_rollout(encode_demonstrations(demonstrations, self.base.task))
        loss = -float(rollout.logprobs.double().sum() / rollout.is_action.sum())
        return {"cross_entropy": loss, "perplexity": math.exp(loss)}

    def _order(self, epoch: int) -> list[int]:
        generator = np.random.default_rng([self.config.seed, Stream.DEMONSTRATIONS, epoch])
        return generator.permutation(len(self.demonstrations)).tolist()

    def _as_rollout(self, chosen: Sequence[Demonstration]) -> Rollout:
        """Return demonstrations as paid episodes, with the policy's outputs on them."""
        silent = given_rollout(
            self.base.mdp,
            [pair.prompt for pair in chosen],
            [pair.response for pair in chosen],
            torch.arange(len(chosen)),
        )
        said = self.policy.evaluate_episodes(silent.tokens, silent.is_action)
        return self.base.evaluate(silent.replace(logprobs=said.logprobs))
