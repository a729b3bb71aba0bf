"""One step is one whole response, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper

from rlhf_env.rollout import Rollout
from wrappers.decisions import decisions_of_size
from wrappers.sequence_bandit import bandit_mdp
from wrappers.vector.macro_step import set_macro_spaces, take_rows


class SequenceBandit(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.SequenceBandit`; actions are [N, T]."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Raises:
            ValueError: if the environment truncates episodes, or the order of wrappers makes no
                sense.
        """
        self.tokens_per_action = bandit_mdp(env).max_new_tokens
        super().__init__(env)
        set_macro_spaces(self, env, self.tokens_per_action)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Write a whole response in every row.

        Raises:
            ValueError: if the actions are not in the action space; no row has changed then.
        """
        return take_rows(
            self.env, actions, self.tokens_per_action, lambda mdp, rows: [False] * len(rows)
        )

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as one decision each."""
        return rollout.replace(decision=decisions_of_size(rollout, self.tokens_per_action))
