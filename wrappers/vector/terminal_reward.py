"""The score at the end of the response, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper

from rlhf_env.rollout import Rollout
from wrappers.order import check_one_payer, token_mdp


class TerminalReward(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.TerminalReward`."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Raises:
            ValueError: if a density wrapper inside has moved the score elsewhere.
        """
        token_mdp(env, "TerminalReward")
        check_one_payer(env, "TerminalReward", "score")
        super().__init__(env)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as they are."""
        return rollout
