"""The reference's hidden state in place of the text's ids."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from rlhf_env.engine.language_model import LanguageModel
from wrappers.stack.order import VIEW, check_order, token_mdp
from wrappers.stack.vector_base import VectorBase


class HiddenState(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Observe the reference's last hidden state at the last token, [H] float32.

    An agent that reads only vectors, such as an MLP, can thus act. The observation is computed from
    the whole text at every step. Numbers beyond ±65,504, the largest of float16, are clipped there,
    so that agents may compute in half precision. Put it outside of wrappers that change rewards.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import HiddenState
        >>> env = HiddenState(gym.make("RLHF-v0", task="toy15"))
        >>> env.reset(seed=0)[0].tolist()
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0``.

        Raises:
            TypeError: if it is another environment.
        """
        mdp = check_order(env, "HiddenState", VIEW)
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.observation_space = hidden_space(mdp.reference)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode."""
        _, info = self.env.reset(seed=seed, options=options)
        return self._observation(), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take a step, and observe the hidden state after it."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._observation(), float(reward), terminated, truncated, info

    def _observation(self) -> NDArray[np.float32]:
        mdp = token_mdp(self.env)
        return last_hidden(mdp.reference, mdp.tokens, mdp.lengths)[0].cpu().numpy()


class VectorHiddenState(VectorBase, RecordConstructorArgs):
    """Vector version of `HiddenState`; observations are [N, H] float32.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers.vector import HiddenState
        >>> envs = HiddenState(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"))
        >>> envs.reset(seed=0)[0].shape
        (2, 7)
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")``.

        Raises:
            TypeError: if it is another environment.
        """
        mdp = check_order(env, "HiddenState", VIEW)
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.single_observation_space = hidden_space(mdp.reference)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self,
        *,
        seed: Any = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in all rows, or in some.

        Returns:
            Observations [N, H], info.
        """
        observations, info = self.env.reset(seed=seed, options=options)
        return self._observations(_array_type(observations)), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every row, and observe the hidden states after it.

        Returns:
            Observations [N, H], rewards [N], terminated [N], truncated [N], info.
        """
        _, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info = {**info, "final_obs": self._final_observations(info["final_obs"])}
        return self._observations(type(rewards)), rewards, terminated, truncated, info

    def _observations(self, kind: type) -> Any:
        mdp = token_mdp(self.env)
        hidden = last_hidden(mdp.reference, mdp.tokens, mdp.lengths)
        return hidden if issubclass(kind, Tensor) else hidden.cpu().numpy()

    def _final_observations(self, final: Any) -> np.ndarray:
        mdp = token_mdp(self.env)
        hidden_states = np.full(self.num_envs, None, dtype=object)
        for row, observation in enumerate(final):
            if observation is None:
                continue
            ids = torch.as_tensor(observation["input_ids"], device=mdp.device)[None]
            lengths = torch.as_tensor(observation["attention_mask"]).long().sum()[None]
            hidden = last_hidden(mdp.reference, ids, lengths.to(mdp.device))[0]
            is_tensor = isinstance(observation["input_ids"], Tensor)
            hidden_states[row] = hidden if is_tensor else hidden.cpu().numpy()
        return hidden_states


# Checkers warn of infinite bounds, and larger ones overflow when an agent casts them to float16.
BOUND = float(np.finfo(np.float16).max)


def hidden_space(reference: LanguageModel) -> spaces.Box:
    """Return the space of one hidden state: all numbers that float16 can hold."""
    return spaces.Box(-BOUND, BOUND, (reference.hidden_size,), np.float32)


@torch.no_grad()
def last_hidden(reference: LanguageModel, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Return the model's last hidden state at each row's last token, within the space's bounds.

    Args:
        reference: the model.
        tokens: [N, L] padded on the right.
        lengths: [N] the number of tokens of each row.

    Returns:
        [N, H] float32, fresh memory.
    """
    hidden = reference.hidden(tokens[:, : int(lengths.max())])
    last = hidden[torch.arange(len(tokens), device=tokens.device), lengths - 1].float()
    return last.clamp(-BOUND, BOUND)


def _array_type(observations: Any) -> type:
    """Return the type of an environment's arrays."""
    return type(observations["input_ids"] if isinstance(observations, dict) else observations)
