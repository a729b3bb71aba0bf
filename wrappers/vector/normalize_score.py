"""The score in units of the reference's own responses, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.normalize_score import normalized_info, normalized_rollout, score_scale
from wrappers.vector.row_infos import join_info, paid_info, split_info


class NormalizeScore(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.NormalizeScore`."""

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        mean: float | None = None,
        sd: float | None = None,
        episodes: int = 256,
        seed: int = 0,
    ) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.NormalizeScore`."""
        self.scale = score_scale(env, mean, sd, episodes, seed)
        super().__init__(env)

    @property
    def mean(self) -> float:
        """The score that becomes 0."""
        return self.scale.mean

    @property
    def sd(self) -> float:
        """The distance from ``mean`` that becomes 1."""
        return self.scale.sd

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every row, and pay scores in the new units."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        if not terminated.any():
            return observations, rewards, terminated, truncated, info
        rows = split_info(info, self.num_envs)
        for row, is_over in enumerate(terminated.tolist()):
            told = paid_info(rows[row])
            if not is_over or told is None:
                continue
            told.update(normalized_info(told, self.scale))
            rewards[row] = sum(told["reward_terms"].values())
        is_tensor = isinstance(rewards, Tensor)
        return observations, rewards, terminated, truncated, join_info(rows, self, is_tensor)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes paid in the new units, as stepping would pay them."""
        return normalized_rollout(rollout, self.scale)
