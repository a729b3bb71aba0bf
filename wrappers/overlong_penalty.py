"""A price that grows as a response nears its limit."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from rlhf_env.checks import check_count, check_number
from wrappers.order import check_payable, token_mdp
from wrappers.paid_reward import PaidReward
from wrappers.pay import Pay
from wrappers.token_terms import overlong_terms, token_pay


class OverlongPenalty(PaidReward, RecordConstructorArgs):
    """Pay −coef / cache_tokens in the term "overlong" at each of the last tokens before a limit.

    An episode is paid 0 up to ``max_tokens − cache_tokens`` tokens, EOS included, then less in
    proportion, and −coef at ``max_tokens`` or beyond: the soft overlong punishment of DAPO
    (arXiv:2503.14476, equation 13), which pays the sum at the end; here each token pays its part.

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
            cache_tokens: over how many tokens the penalty grows, in [1, max_tokens].
            max_tokens: where it has grown to ``coef``; the horizon unless given.
            coef: the whole penalty in units of the score, >= 0.

        Raises:
            ValueError: if a number is out of range, or the order of wrappers makes no sense.
        """
        pay = overlong_penalty(env, cache_tokens, max_tokens, coef)
        RecordConstructorArgs.__init__(
            self, cache_tokens=cache_tokens, max_tokens=max_tokens, coef=coef
        )
        super().__init__(env, pay)


def overlong_penalty(env: Any, cache_tokens: int, max_tokens: int | None, coef: float) -> Pay:
    """Return how an overlong penalty that may stand around ``env`` pays.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if a number is out of range, or the order of wrappers makes no sense.
    """
    horizon = token_mdp(env, "OverlongPenalty").max_new_tokens
    limit = horizon if max_tokens is None else max_tokens
    check_count("cache_tokens", cache_tokens)
    check_count("max_tokens", limit)
    if cache_tokens > limit:
        raise ValueError(f"cache_tokens must be at most max_tokens = {limit}, got {cache_tokens}")
    check_number("coef", coef, minimum=0.0)
    check_payable(env, "OverlongPenalty", "overlong")

    def tokens(prompt: Tensor, response: Tensor) -> Tensor:
        return overlong_terms(response, coef, limit, cache_tokens)

    return token_pay("overlong", tokens)
