"""One step is several tokens, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper

from rlhf_env.rollout import Rollout
from wrappers.boundary import Boundary
from wrappers.macro_action import Span, macro_mdp
from wrappers.order import token_mdp
from wrappers.vector.macro_step import set_macro_spaces, take_rows


class MacroAction(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.MacroAction`; actions are [N, n], or [N, T] with a boundary."""

    def __init__(
        self, env: VectorEnv[Any, Any, Any], n: int | None = None, boundary: Boundary | None = None
    ) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.MacroAction`."""
        self.span = Span.of(n, boundary, macro_mdp(env))
        super().__init__(env)
        self.tokens_per_action = self.span.size
        set_macro_spaces(self, env, self.span.size)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append tokens in every row up to the end of its action or of its episode.

        Raises:
            ValueError: if the actions are not in the action space; no row has changed then.
        """
        return take_rows(self.env, actions, self.span.size, self.span.are_over)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes with the decision that each token belongs to."""
        mdp = token_mdp(self.env, "MacroAction")
        return rollout.replace(decision=self.span.decisions(rollout, mdp))
