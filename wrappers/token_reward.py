"""A reward of your own for every token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from wrappers.order import check_payable
from wrappers.paid_reward import PaidReward
from wrappers.pay import Pay
from wrappers.token_terms import token_pay

TokenFunction = Callable[[Tensor, Tensor], "float | Tensor"]


class TokenReward(PaidReward, RecordConstructorArgs):
    """Pay each token what a function of the text so far says, in a term of its own.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import TokenReward
        >>> def newest_id(prompt, response):
        ...     return 0.5 * float(response[-1])
        >>> env = TokenReward(gym.make("RLHF-v0", task="toy15"), newest_id)
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
            function: ``f(prompt ids [P], response ids so far [T])`` answers with one number, for
                the newest token, or with [T], for all of them; then no entry may depend on later
                tokens, and finished episodes need one call instead of T.
            name: of the term in ``reward_terms``.

        Raises:
            TypeError: if ``function`` cannot be called.
            ValueError: if the name is taken, or the order of wrappers makes no sense.
        """
        pay = token_reward(env, function, name)
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, function=function, name=name)
        super().__init__(env, pay)


def token_reward(env: Any, function: TokenFunction, name: str) -> Pay:
    """Return how a token reward that may stand around ``env`` pays.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``, or ``function`` cannot be called.
        ValueError: if the name is taken, or the order of wrappers makes no sense.
    """
    if not callable(function):
        raise TypeError(
            "function must be f(prompt, response) -> a number or [T], "
            f"got {type(function).__name__}"
        )
    if not isinstance(name, str) or name in ("", "score", "kl"):
        raise ValueError(
            f"name must be that of a new reward term, got {name!r}; the environment pays "
            '"score" and "kl" itself'
        )
    check_payable(env, "TokenReward", name)
    return token_pay(name, partial(_answers, function), partial(_newest, function))


def _answers(function: TokenFunction, prompt: Tensor, response: Tensor) -> Tensor:
    """Return what each token is paid, [T] float64, asking as seldom as the function allows."""
    answer = _asked(function, prompt, response)
    if answer.ndim == 1:
        return answer
    earlier = [_asked(function, prompt, response[:t]) for t in range(1, len(response))]
    return torch.stack([*earlier, answer])


def _newest(function: TokenFunction, prompt: Tensor, response: Tensor) -> Tensor:
    return _asked(function, prompt, response).reshape(-1)[-1]


def _asked(function: TokenFunction, prompt: Tensor, response: Tensor) -> Tensor:
    answer = torch.as_tensor(function(prompt.clone(), response.clone()), dtype=torch.float64)
    answer = answer.detach().cpu()
    if answer.shape not in ((), response.shape) or not answer.isfinite().all():
        raise ValueError(
            f"function must answer with a finite number or {len(response)} of them for a response "
            f"of {len(response)} tokens, got {answer.flatten().tolist()[:8]} of shape "
            f"{list(answer.shape)}"
        )
    return answer
