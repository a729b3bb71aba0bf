"""The methods by which an agent is used: it acts, answers prompts and is evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.config import AgentConfig
from agents.evaluation.evaluate import evaluate
from agents.policy import Policy
from agents.rollouts.collect import collect
from agents.rollouts.contract import check_observation
from agents.rollouts.sampling_plan import Stream
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv


class Acting(ABC):
    """Lets the policy of the agent that it is a base of act; nothing of training changes."""

    config: AgentConfig
    envs: VectorEnv[Any, Any, Any]
    base: RLHFVectorEnv
    policy: Policy
    _acting: np.random.Generator

    @property
    @abstractmethod
    def kl_coef(self) -> float:
        """Beta that rollouts are paid with."""

    def act(self, observation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Sample a token for every row.

        Args:
            observation: of a vector environment.

        Returns:
            [N] tokens and [N] their log-probabilities.

        Raises:
            ValueError: if it is not an observation of a vector environment.
        """
        check_observation(observation)
        device = self.policy.lm.device
        tokens = torch.as_tensor(observation["input_ids"], device=device)
        lengths = torch.as_tensor(observation["attention_mask"], device=device).long().sum(1)
        uniforms = torch.from_numpy(self._acting.random(len(tokens), dtype=np.float32))
        chosen, logprobs = self.policy.sample(tokens, lengths, uniforms.to(device))
        return chosen.cpu().numpy(), logprobs.cpu().numpy()

    def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return pi(.|s) after the first ``lengths[i]`` tokens of each row, [N, V]."""
        return self.policy.token_probabilities(tokens, lengths)

    def sample(self, prompts: Sequence[Tensor], *, seed: int = 0) -> Rollout:
        """Return one response to each prompt, with scores and log-probabilities."""
        return collect(
            self.envs,
            self.policy,
            len(prompts),
            prompts=prompts,
            seed=(self.config.seed, Stream.EVALUATION, seed),
            kl_coef=self.kl_coef,
        )

    def evaluate(self, episodes: int = 256) -> dict[str, float]:
        """Evaluate the policy on the task's evaluation prompts.

        See `agents.evaluation.evaluate.evaluate` for the keys. The same episodes are drawn at
        every call, and training is not disturbed.
        """
        seed = (self.config.seed, Stream.EVALUATION)
        with self._one_thread():
            return evaluate(self.envs, self.policy, episodes, seed, self.kl_coef)

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        """Hold environment and policy, so that no other thread sees half a change."""
        with self.base.overridden(), self.policy.lock:
            yield
