"""A price for every token."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from rlhf_env.checks import check_count, check_number
from wrappers.order import check_payable
from wrappers.paid_reward import PaidReward
from wrappers.pay import Pay
from wrappers.token_terms import length_terms, token_pay


class LengthPenalty(PaidReward, RecordConstructorArgs):
    """Pay −coef in the term "length" at every token beyond ``free_tokens``, EOS included.

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
            free_tokens: how many cost nothing.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        pay = length_penalty(env, coef, free_tokens)
        RecordConstructorArgs.__init__(self, coef=coef, free_tokens=free_tokens)
        super().__init__(env, pay)


def length_penalty(env: Any, coef: float, free_tokens: int) -> Pay:
    """Return how a length penalty that may stand around ``env`` pays.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if a number is out of range, or the order of wrappers makes no sense.
    """
    check_number("coef", coef, minimum=0.0)
    check_count("free_tokens", free_tokens, minimum=0)
    check_payable(env, "LengthPenalty", "length")

    def tokens(prompt: Tensor, response: Tensor) -> Tensor:
        return length_terms(response, coef, free_tokens)

    return token_pay("length", tokens)
