"""The reference's view of the text in place of its ids, for vector environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from torch import Tensor

from wrappers.hidden_state import hidden_space, last_hidden
from wrappers.order import token_mdp


class HiddenState(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.HiddenState`; observations are [N, H]."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment."""
        mdp = token_mdp(env, "HiddenState")
        super().__init__(env)
        self.single_observation_space = hidden_space(mdp.reference)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self,
        *,
        seed: Any = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Open an episode in every row, or in some."""
        observations, info = self.env.reset(seed=seed, options=options)
        return self._observations(_kind(observations)), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every row, and observe what the reference makes of the texts."""
        _, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info = {**info, "final_obs": self._final_observations(info["final_obs"])}
        return self._observations(type(rewards)), rewards, terminated, truncated, info

    def _observations(self, kind: type) -> Any:
        mdp = token_mdp(self.env, "HiddenState")
        hidden = last_hidden(mdp.reference, mdp.tokens, mdp.lengths)
        return hidden if issubclass(kind, Tensor) else hidden.cpu().numpy()

    def _final_observations(self, final: Any) -> np.ndarray:
        mdp = token_mdp(self.env, "HiddenState")
        seen = np.full(self.num_envs, None, dtype=object)
        for row, observation in enumerate(final):
            if observation is None:
                continue
            ids = torch.as_tensor(observation["input_ids"], device=mdp.device)[None]
            lengths = torch.as_tensor(observation["attention_mask"]).long().sum()[None]
            hidden = last_hidden(mdp.reference, ids, lengths.to(mdp.device))[0]
            is_tensor = isinstance(observation["input_ids"], Tensor)
            seen[row] = hidden if is_tensor else hidden.cpu().numpy()
        return seen


def _kind(observations: Any) -> type:
    """Return the type of the arrays that an environment hands out."""
    return type(observations["input_ids"] if isinstance(observations, dict) else observations)
