"""A reward of your own for every token, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.token_reward import TokenFunction, token_reward
from wrappers.vector.paid_reward import PaidReward


class TokenReward(PaidReward):
    """Twin of `wrappers.TokenReward`."""

    def __init__(
        self, env: VectorEnv[Any, Any, Any], function: TokenFunction, name: str = "token"
    ) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.TokenReward`."""
        super().__init__(env, token_reward(env, function, name))
