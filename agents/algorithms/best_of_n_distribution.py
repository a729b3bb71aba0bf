"""The exact distribution of the best of n responses, where all of them can be enumerated."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from agents.policy import Policy
from rlhf_env.exact.best_of_n import BestOfNEvaluation, best_of_n
from rlhf_env.exact.response_tree import check_enumerable
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv


class BestOfNDistribution:
    """What is chosen from n responses of a policy, token by token; solved when first asked for.

    It is known where a task has one prompt and at most a million responses.
    """

    def __init__(self, base: RLHFVectorEnv, policy: Policy, n: int) -> None:
        """Take what answers, under which weights it answers now, and n."""
        self._base = base
        self._policy = policy
        self._n = n
        self._solved: BestOfNEvaluation | None = None

    @property
    def is_known(self) -> bool:
        """Whether the task's responses can be enumerated."""
        task = self._base.task
        try:
            check_enumerable(task.vocab_size, self._base.mdp.max_new_tokens)
        except ValueError:
            return False
        prompts = (*task.prompts, *task.eval_prompts)
        return all(torch.equal(prompt, prompts[0]) for prompt in prompts)

    def solved(self) -> BestOfNEvaluation:
        """Return the distribution of all answers, and its KL."""
        if self._solved is None:
            horizon = self._base.mdp.max_new_tokens
            self._solved = best_of_n(
                dataclasses.replace(self._base.task, max_new_tokens=horizon),
                self._n,
                policy=self._policy.model,
                temperature=self._policy.temperature,
                prompt_index=0,
            )
        return self._solved

    def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the distribution of each row's next token, [N, V] float64.

        Raises:
            ValueError: if the task's responses cannot be enumerated.
        """
        task = self._base.task
        if not self.is_known:
            raise ValueError(
                "BestOfN knows the probabilities of tokens only where a task has one prompt and "
                f"at most a million responses, got {task.name!r}; use sample(prompts), "
                "which chooses whole responses"
            )
        start, policy = len(task.prompts[0]), self.solved().policy
        # What is asked for after the end of a response is never read.
        ended = tuple(float(t == task.eos_id) for t in range(task.vocab_size))
        rows = zip(tokens.tolist(), lengths.tolist(), strict=True)
        found = [policy.get(tuple(row[start:length]), ended) for row, length in rows]
        return torch.tensor(found, dtype=torch.float64)

    def state_probabilities(self, rollout: Rollout) -> Tensor:
        """Return the distribution that each of M actions was chosen from, [M, V]."""
        rows, positions = rollout.is_action.nonzero(as_tuple=True)
        return self.token_probabilities(rollout.tokens[rows], positions).to(rollout.tokens.device)

    def logprobs(self, rollout: Rollout) -> Tensor:
        """Return log-probabilities of answers, [B, L]; NaN where they are not known."""
        logprobs = torch.where(rollout.is_action, math.nan, 0.0)
        asked = self._base.task.prompts[0].to(rollout.tokens.device)
        if self.is_known and all(torch.equal(ids, asked) for ids in rollout.prompts()):
            states = self.state_probabilities(rollout)
            taken = states.gather(1, rollout.tokens[rollout.is_action][:, None]).squeeze(1)
            logprobs = logprobs.masked_scatter(rollout.is_action, taken.log().to(logprobs))
        return logprobs

    def entropy(self, rollout: Rollout) -> float:
        """Return the mean entropy of what may be chosen next, nats per token; NaN likewise."""
        if not self.is_known:
            return math.nan
        return float(torch.special.entr(self.state_probabilities(rollout)).sum(1).mean())
