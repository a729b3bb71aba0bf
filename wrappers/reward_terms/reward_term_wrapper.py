"""The base classes of the wrappers that add or replace a reward term."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.reward_terms.reward_term import Responses, RewardTerm
from wrappers.stack.order import (
    ACTION_REWARD,
    TOKEN_REWARD,
    check_order,
    token_mdp,
    wrapper_name,
)
from wrappers.stack.rows import join_info, open_text, row_text, split_info, step_info
from wrappers.stack.vector_base import VectorBase


class RewardTermWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Add a term to ``info["reward_terms"]``, or replace one; the reward is the sum of the terms.

    Nothing is stored between steps: the term of a step follows from the response before and after
    it. Subclass it, or wrap an environment directly.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers.reward_terms import RewardTermWrapper, token_term
        >>> def odd_tokens(prompt, response):
        ...     return 0.5 * (response % 2)
        >>> env = gym.make("RLHF-v0", task="toy15")
        >>> env = RewardTermWrapper(env, token_term("odd", odd_tokens))
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["odd"] for token in (1, 2, 1)]
        [0.5, 0.0, 0.5]
    """

    def __init__(self, env: gym.Env[Any, Any], reward_term: RewardTerm) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens, or any if ``reward_term.per_action``.
            reward_term: the term.

        Raises:
            TypeError: if ``env`` is another environment.
            ValueError: if the order of wrappers makes no sense.
        """
        _check(self, env, reward_term)
        self.reward_term = reward_term
        super().__init__(env)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step, and compute its reward with the term."""
        mdp = token_mdp(self.env)
        start = int(mdp.response_lengths[0])
        observation, _, terminated, truncated, info = self.env.step(action)
        terms, text = info["reward_terms"], open_text(mdp, 0)
        responses = Responses(
            prompts=[text.prompt],
            responses=[text.response],
            is_action=[text.is_action],
            starts=[torch.full((int(text.is_action.sum()),), start)],
            terminated=torch.tensor([terminated]),
            score_term=torch.tensor([terms["score"]], dtype=torch.float64),
        )
        term = float(self.reward_term.last_step(responses)[0])
        info = {**info, "reward_terms": {**terms, self.reward_term.name: term}}
        return observation, sum(info["reward_terms"].values()), terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with the term, with the same numbers as stepping.

        Args:
            rollout: episodes with the rewards of the wrapped environment.
        """
        return self.reward_term.rollout(rollout)


class VectorRewardTermWrapper(VectorBase):
    """Vector version of `RewardTermWrapper`: the term is computed for all N rows at once.

    Nothing is stored between steps, so resets of single rows need no care.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.reward_terms import VectorRewardTermWrapper, token_term
        >>> def odd_tokens(prompt, response):
        ...     return 0.5 * (response % 2)
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15")
        >>> envs = VectorRewardTermWrapper(envs, token_term("odd", odd_tokens))
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([1, 2]))[4]["reward_terms"]["odd"].tolist()
        [0.5, 0.0]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], reward_term: RewardTerm) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens, or any if
                ``reward_term.per_action``.
            reward_term: the term.

        Raises:
            TypeError: if ``env`` is another environment.
            ValueError: if the order of wrappers makes no sense.
        """
        _check(self, env, reward_term)
        self.reward_term = reward_term
        super().__init__(env)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every row whose episode is open, and compute its reward with the term.

        Returns:
            Observations, rewards [N], terminated [N], truncated [N], info.
        """
        mdp = token_mdp(self.env)
        starts = mdp.response_lengths.tolist()
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        rows = split_info(info, self.num_envs)
        stepped = {row: own for row in range(self.num_envs) if (own := step_info(rows[row]))}
        if not stepped:
            return observations, rewards, terminated, truncated, info
        texts = [row_text(mdp, row, rows[row]) for row in stepped]
        scores = [own["reward_terms"]["score"] for own in stepped.values()]
        responses = Responses(
            prompts=[text.prompt for text in texts],
            responses=[text.response for text in texts],
            is_action=[text.is_action for text in texts],
            starts=[
                torch.full((int(text.is_action.sum()),), starts[row])
                for row, text in zip(stepped, texts, strict=True)
            ],
            terminated=torch.as_tensor(terminated).cpu()[list(stepped)],
            score_term=torch.tensor(scores, dtype=torch.float64),
        )
        terms = self.reward_term.last_step(responses).tolist()
        for (row, own), term in zip(stepped.items(), terms, strict=True):
            own["reward_terms"][self.reward_term.name] = term
            rewards[row] = sum(own["reward_terms"].values())
        info = join_info(rows, tensors=isinstance(rewards, Tensor))
        return observations, rewards, terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with the term, with the same numbers as stepping.

        Args:
            rollout: episodes with the rewards of the wrapped environment.
        """
        return self.reward_term.rollout(rollout)


def _check(wrapper: Any, env: Any, reward_term: RewardTerm) -> None:
    rules = ACTION_REWARD if reward_term.per_action else TOKEN_REWARD
    check_order(env, wrapper_name(wrapper), rules, term=reward_term.name)
