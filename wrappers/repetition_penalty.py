"""A price for repetition."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.checks import check_count, check_number
from wrappers.reward_terms.reward_term import RewardTerm
from wrappers.reward_terms.reward_term_wrapper import RewardTermWrapper, VectorRewardTermWrapper
from wrappers.reward_terms.token_terms import token_term


class RepetitionPenalty(RewardTermWrapper, RecordConstructorArgs):
    """Add the term "repetition": −coef at a token that completes an n-gram already written.

    Only the response counts, not the prompt; the two n-grams may overlap.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import RepetitionPenalty
        >>> env = RepetitionPenalty(gym.make("RLHF-v0", task="toy15"), coef=0.5, n=1)
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["repetition"] for token in (1, 2, 1)]
        [0.0, 0.0, -0.5]
    """

    def __init__(self, env: gym.Env[Any, Any], coef: float, n: int = 3) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            coef: the price of a repetition in units of the score, >= 0.
            n: the number of tokens in an n-gram, >= 1.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        term = repetition_penalty(coef, n)
        RecordConstructorArgs.__init__(self, coef=coef, n=n)
        super().__init__(env, term)


class VectorRepetitionPenalty(VectorRewardTermWrapper, RecordConstructorArgs):
    """Vector version of `RepetitionPenalty`: the term "repetition" of each of N rows.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import RepetitionPenalty
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15")
        >>> envs = RepetitionPenalty(envs, coef=0.5, n=1)
        >>> _ = envs.reset(seed=0)
        >>> steps = [envs.step(np.array(tokens)) for tokens in ([1, 1], [1, 2])]
        >>> steps[1][4]["reward_terms"]["repetition"].tolist()
        [-0.5, 0.0]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], coef: float, n: int = 3) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            coef: the price of a repetition in units of the score, >= 0.
            n: the number of tokens in an n-gram, >= 1.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        term = repetition_penalty(coef, n)
        RecordConstructorArgs.__init__(self, coef=coef, n=n)
        super().__init__(env, term)


def repetition_penalty(coef: float, n: int) -> RewardTerm:
    """Return the reward term "repetition".

    Raises:
        ValueError: if a number is out of range.
    """
    check_number("coef", coef, minimum=0.0)
    check_count("n", n)

    def tokens(prompt: Tensor, response: Tensor) -> Tensor:
        return repetition_terms(response, coef, n)

    return token_term("repetition", tokens, own_only=True)


def repetition_terms(response: Tensor, coef: float, n: int) -> Tensor:
    """Return −coef where a token completes n tokens that are already there, [T] float64."""
    terms = torch.zeros(len(response), dtype=torch.float64, device=response.device)
    if len(response) > n:
        _, kinds = torch.unique(response.unfold(0, n, 1), dim=0, return_inverse=True)
        positions = torch.arange(len(kinds), device=response.device)
        first = torch.full_like(positions, len(kinds)).scatter_reduce(0, kinds, positions, "amin")
        terms[n - 1 :] = torch.where(positions > first[kinds], -float(coef), 0.0).double()
    return terms
