"""A reward of your own for every token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from wrappers.reward_terms.reward_term import RewardTerm
from wrappers.reward_terms.reward_term_wrapper import RewardTermWrapper, VectorRewardTermWrapper
from wrappers.reward_terms.token_terms import token_term

TokenFunction = Callable[[Tensor, Tensor], "float | Tensor"]


class TokenReward(RewardTermWrapper, RecordConstructorArgs):
    """Add a term of your own: a function of the text so far.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import TokenReward
        >>> def last_id(prompt, response):
        ...     return 0.5 * float(response[-1])
        >>> env = TokenReward(gym.make("RLHF-v0", task="toy15"), last_id)
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["token"] for token in (1, 2, 0)]
        [0.5, 1.0, 0.0]
    """

    def __init__(
        self, env: gym.Env[Any, Any], function: TokenFunction, name: str = "token"
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            function: ``f(prompt ids [P], response ids so far [T])`` returns one number, for the
                last token, or [T], for all of them; then no entry may depend on later tokens, and
                finished episodes need one call instead of T.
            name: of the term in ``reward_terms``.

        Raises:
            TypeError: if ``function`` cannot be called.
            ValueError: if the name is taken, or the order of wrappers makes no sense.
        """
        term = token_reward(function, name)
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, function=function, name=name)
        super().__init__(env, term)


class VectorTokenReward(VectorRewardTermWrapper, RecordConstructorArgs):
    """Vector version of `TokenReward`: the function is called for each of N rows.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import TokenReward
        >>> def last_id(prompt, response):
        ...     return 0.5 * float(response[-1])
        >>> envs = TokenReward(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"), last_id)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([1, 2]))[4]["reward_terms"]["token"].tolist()
        [0.5, 1.0]
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], function: TokenFunction, name: str = "token"
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            function: ``f(prompt ids [P], response ids so far [T])`` returns one number, for the
                last token, or [T], for all of them; then no entry may depend on later tokens, and
                finished episodes need one call instead of T.
            name: of the term in ``reward_terms``.

        Raises:
            TypeError: if ``function`` cannot be called.
            ValueError: if the name is taken, or the order of wrappers makes no sense.
        """
        term = token_reward(function, name)
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, function=function, name=name)
        super().__init__(env, term)


def token_reward(function: TokenFunction, name: str) -> RewardTerm:
    """Return the reward term of a function of the text so far.

    Raises:
        TypeError: if ``function`` cannot be called.
        ValueError: if the name is one of the environment's own terms.
    """
    if not callable(function):
        raise TypeError(
            "function must be f(prompt, response) -> a number or [T], "
            f"got {type(function).__name__}"
        )
    return token_term(name, partial(_all_values, function), partial(_last_value, function))


def _all_values(function: TokenFunction, prompt: Tensor, response: Tensor) -> Tensor:
    """Return the term of each token, [T] float64, in one call if the function allows it."""
    values = _values(function, prompt, response)
    if values.ndim == 1:
        return values
    earlier = [_values(function, prompt, response[:t]) for t in range(1, len(response))]
    return torch.stack([*earlier, values])


def _last_value(function: TokenFunction, prompt: Tensor, response: Tensor) -> Tensor:
    return _values(function, prompt, response).reshape(-1)[-1]


def _values(function: TokenFunction, prompt: Tensor, response: Tensor) -> Tensor:
    values = torch.as_tensor(function(prompt.clone(), response.clone()), dtype=torch.float64)
    values = values.detach().cpu()
    if values.shape not in ((), response.shape) or not values.isfinite().all():
        raise ValueError(
            f"function must return a finite number or {len(response)} of them for a response of "
            f"{len(response)} tokens, got {values.flatten().tolist()[:8]} of shape "
            f"{list(values.shape)}"
        )
    return values
