"""The text beside its ids, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.decoded_text import texts
from wrappers.order import token_mdp
from wrappers.vector.row_infos import join_info, split_info
from wrappers.vector.row_texts import written


class DecodedText(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.DecodedText`."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment."""
        token_mdp(env, "DecodedText")
        super().__init__(env)

    def reset(
        self,
        *,
        seed: Any = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Open an episode in every row, or in some."""
        observations, info = self.env.reset(seed=seed, options=options)
        return observations, self._told(info, isinstance(info["_prompt_index"], Tensor))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every row, and tell the texts."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        info = self._told(info, isinstance(rewards, Tensor))
        return observations, rewards, terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as they are."""
        return rollout

    def _told(self, info: dict[str, Any], tensors: bool) -> dict[str, Any]:
        """Return the info with the texts of all rows that were reset or took a step."""
        mdp, rows = token_mdp(self.env, "DecodedText"), split_info(info, self.num_envs)
        for number, row in enumerate(rows):
            if "final_info" in row:
                row["final_info"] |= texts(mdp.task, *written(mdp, number, row))
            if row:
                prompt = mdp.tokens[number, : mdp.prompt_lengths[number]]
                row |= texts(mdp.task, prompt, mdp.response(number))
        return join_info(rows, self, tensors)
