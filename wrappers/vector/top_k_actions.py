"""A choice among the reference's best tokens, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from torch import Tensor

from wrappers.order import token_mdp
from wrappers.top_k import check_token_ids, rank_space, top_k
from wrappers.vector.row_infos import join_info, paid_info, split_info


class TopKActions(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.TopKActions`; actions are [N] ranks."""

    def __init__(self, env: VectorEnv[Any, Any, Any], k: int, always_eos: bool = False) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.TopKActions`."""
        self.top_k = top_k(env, k, always_eos)
        check_token_ids(env.single_action_space, token_mdp(env, "TopKActions"))
        super().__init__(env)
        self.single_action_space = rank_space(env.single_action_space, k)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append the token of a rank in every row whose episode is open.

        Raises:
            ValueError: if the actions are not in the action space; no row has changed then.
        """
        mdp = token_mdp(self.env, "TopKActions")
        is_dict = isinstance(actions, dict) and "token" in actions
        tokens = self.top_k.chosen(actions["token"] if is_dict else actions, mdp)
        inner = {**actions, "token": tokens} if is_dict else tokens
        observations, rewards, terminated, truncated, info = self.env.step(inner)
        rows = split_info(info, self.num_envs)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            told = paid_info(row)
            if told is not None:
                told["token"] = float(token)
        info = join_info(rows, self, isinstance(rewards, Tensor))
        return observations, rewards, terminated, truncated, info
