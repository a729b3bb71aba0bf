"""Prices for length: for every token, or for those near the limit."""

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
from wrappers.stack.order import VIEW, check_order


class LengthPenalty(RewardTermWrapper, RecordConstructorArgs):
    """Add the term "length": −coef at every token after the first ``free_tokens``, EOS included.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import LengthPenalty
        >>> env = LengthPenalty(gym.make("RLHF-v0", task="toy15"), coef=0.5, free_tokens=1)
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["length"] for token in (1, 2, 0)]
        [0.0, -0.5, -0.5]
    """

    def __init__(self, env: gym.Env[Any, Any], coef: float, free_tokens: int = 0) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            coef: the price of a token in units of the score, >= 0.
            free_tokens: the number of tokens that cost nothing.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        term = length_penalty(coef, free_tokens)
        RecordConstructorArgs.__init__(self, coef=coef, free_tokens=free_tokens)
        super().__init__(env, term)


class VectorLengthPenalty(VectorRewardTermWrapper, RecordConstructorArgs):
    """Vector version of `LengthPenalty`: the term "length" of each of N rows.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import LengthPenalty
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15")
        >>> envs = LengthPenalty(envs, coef=0.5)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([1, 2]))[4]["reward_terms"]["length"].tolist()
        [-0.5, -0.5]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], coef: float, free_tokens: int = 0) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            coef: the price of a token in units of the score, >= 0.
            free_tokens: the number of tokens that cost nothing.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        term = length_penalty(coef, free_tokens)
        RecordConstructorArgs.__init__(self, coef=coef, free_tokens=free_tokens)
        super().__init__(env, term)


class OverlongPenalty(RewardTermWrapper, RecordConstructorArgs):
    """Add the term "overlong": −coef / cache_tokens at each of the last tokens before a limit.

    The sum over an episode is 0 up to ``max_tokens − cache_tokens`` tokens, EOS included, then
    falls in proportion, and is −coef at ``max_tokens`` or beyond: the soft overlong punishment of
    DAPO (arXiv:2503.14476, equation 13), whose sum is at the end; here each token has its part.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import OverlongPenalty
        >>> env = OverlongPenalty(gym.make("RLHF-v0", task="toy15"), cache_tokens=2)
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["overlong"] for token in (1, 2, 0)]
        [0.0, -0.5, -0.5]
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        cache_tokens: int,
        max_tokens: int | None = None,
        coef: float = 1.0,
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            cache_tokens: the number of tokens over which the penalty grows, in [1, max_tokens].
            max_tokens: where it has grown to ``coef``; the horizon unless given.
            coef: the whole penalty in units of the score, >= 0.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        term = overlong_penalty(env, cache_tokens, max_tokens, coef)
        RecordConstructorArgs.__init__(
            self, cache_tokens=cache_tokens, max_tokens=max_tokens, coef=coef
        )
        super().__init__(env, term)


class VectorOverlongPenalty(VectorRewardTermWrapper, RecordConstructorArgs):
    """Vector version of `OverlongPenalty`: the term "overlong" of each of N rows.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import OverlongPenalty
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15")
        >>> envs = OverlongPenalty(envs, cache_tokens=2, max_tokens=2)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([1, 2]))[4]["reward_terms"]["overlong"].tolist()
        [-0.5, -0.5]
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        cache_tokens: int,
        max_tokens: int | None = None,
        coef: float = 1.0,
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            cache_tokens: the number of tokens over which the penalty grows, in [1, max_tokens].
            max_tokens: where it has grown to ``coef``; the horizon unless given.
            coef: the whole penalty in units of the score, >= 0.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        term = overlong_penalty(env, cache_tokens, max_tokens, coef)
        RecordConstructorArgs.__init__(
            self, cache_tokens=cache_tokens, max_tokens=max_tokens, coef=coef
        )
        super().__init__(env, term)


def length_penalty(coef: float, free_tokens: int) -> RewardTerm:
    """Return the reward term "length".

    Raises:
        ValueError: if a number is out of range.
    """
    check_number("coef", coef, minimum=0.0)
    check_count("free_tokens", free_tokens, minimum=0)

    def tokens(prompt: Tensor, response: Tensor) -> Tensor:
        return length_terms(response, coef, free_tokens)

    return token_term("length", tokens, own_only=True)


def overlong_penalty(
    env: Any, cache_tokens: int, max_tokens: int | None, coef: float
) -> RewardTerm:
    """Return the reward term "overlong" for the horizon of ``env``.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if a number is out of range.
    """
    horizon = check_order(env, "OverlongPenalty", VIEW).max_new_tokens
    limit = horizon if max_tokens is None else max_tokens
    check_count("cache_tokens", cache_tokens)
    check_count("max_tokens", limit)
    if cache_tokens > limit:
        raise ValueError(f"cache_tokens must be at most max_tokens = {limit}, got {cache_tokens}")
    check_number("coef", coef, minimum=0.0)

    def tokens(prompt: Tensor, response: Tensor) -> Tensor:
        return overlong_terms(response, coef, limit, cache_tokens)

    return token_term("overlong", tokens, own_only=True)


def length_terms(response: Tensor, coef: float, free_tokens: int) -> Tensor:
    """Return −coef for every token after the first ``free_tokens``, else 0, [T] float64."""
    counts = torch.arange(1, len(response) + 1, device=response.device)
    return torch.where(counts > free_tokens, -float(coef), 0.0).double()


def overlong_terms(response: Tensor, coef: float, max_tokens: int, cache_tokens: int) -> Tensor:
    """Return −coef / cache_tokens for each of the last ``cache_tokens`` up to ``max_tokens``.

    Returns:
        [T] float64; 0 before those tokens and after them, so the sum is never below −coef.
    """
    counts = torch.arange(1, len(response) + 1, device=response.device)
    is_overlong = (counts > max_tokens - cache_tokens) & (counts <= max_tokens)
    price = torch.tensor(-float(coef) / cache_tokens, dtype=torch.float64, device=response.device)
    return torch.where(is_overlong, price, 0.0)
