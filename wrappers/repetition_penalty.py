"""A price for saying the same again."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from rlhf_env.checks import check_count, check_number
from wrappers.order import check_payable
from wrappers.paid_reward import PaidReward
from wrappers.pay import Pay
from wrappers.token_terms import repetition_terms, token_pay


class RepetitionPenalty(PaidReward, RecordConstructorArgs):
    """Pay −coef in the term "repetition" at a token that completes an n-gram said before.

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
            n: how many tokens make one, >= 1.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        pay = repetition_penalty(env, coef, n)
        RecordConstructorArgs.__init__(self, coef=coef, n=n)
        super().__init__(env, pay)


def repetition_penalty(env: Any, coef: float, n: int) -> Pay:
    """Return how a repetition penalty that may stand around ``env`` pays.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if a number is out of range, or the order of wrappers makes no sense.
    """
    check_number("coef", coef, minimum=0.0)
    check_count("n", n)
    check_payable(env, "RepetitionPenalty", "repetition")

    def tokens(prompt: Tensor, response: Tensor) -> Tensor:
        return repetition_terms(response, coef, n)

    return token_pay("repetition", tokens)
