"""The reference's view of the text in place of its ids."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray
from torch import Tensor

from rlhf_env.engine.language_model import LanguageModel
from wrappers.order import token_mdp


class HiddenState(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Observe the reference's last hidden state at the newest token, [H] float32.

    So an agent that knows vectors only, such as an MLP, can act. The observation is computed from
    the whole text at every step. Put it outside of wrappers that pay rewards.

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
            TypeError: if it is another one.
        """
        mdp = token_mdp(env, "HiddenState")
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.observation_space = hidden_space(mdp.reference)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Open an episode."""
        _, info = self.env.reset(seed=seed, options=options)
        return self._observation(), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Step, and observe what the reference makes of the text."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._observation(), float(reward), terminated, truncated, info

    def _observation(self) -> NDArray[np.float32]:
        mdp = token_mdp(self.env, "HiddenState")
        return last_hidden(mdp.reference, mdp.tokens, mdp.lengths)[0].cpu().numpy()


def hidden_space(reference: LanguageModel) -> spaces.Box:
    """Return the space of one hidden state: all finite numbers."""
    # Checkers warn of infinite bounds.
    bound = float(np.finfo(np.float32).max)
    return spaces.Box(-bound, bound, (reference.hidden_size,), np.float32)


@torch.no_grad()
def last_hidden(reference: LanguageModel, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Return the trunk's output at each row's last token, [N, H] float32, fresh memory.

    Args:
        reference: whose trunk is asked.
        tokens: [N, L] padded on the right.
        lengths: [N] how many tokens count.
    """
    hidden = reference.hidden(tokens[:, : int(lengths.max())])
    return hidden[torch.arange(len(tokens), device=tokens.device), lengths - 1].float()
