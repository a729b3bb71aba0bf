"""The text beside its ids."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from wrappers.order import token_mdp


class DecodedText(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Tell the prompt as ``info["prompt"]`` and the response so far as ``info["text"]``.

    The observation stays what it is: a space of texts would need an alphabet and a longest text,
    which a vocabulary of bytes does not have, and agents of vectors could not read it. Special
    tokens are left out, as rewards of texts see them; control characters are kept, and only
    ``render`` escapes them. Texts are for reading: a decoded text need not encode to its ids.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import DecodedText
        >>> env = DecodedText(gym.make("RLHF-v0", task="toy15"))
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["text"] for token in (1, 2)]
        ['1', '1 2']
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0``.

        Raises:
            TypeError: if it is another one.
        """
        token_mdp(env, "DecodedText")
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Open an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, **self._texts()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and tell the text."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, {**info, **self._texts()}

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as they are."""
        return rollout

    def _texts(self) -> dict[str, str]:
        mdp = token_mdp(self.env, "DecodedText")
        return texts(mdp.task, mdp.tokens[0, : mdp.prompt_lengths[0]], mdp.response(0))


def texts(task: Task, prompt: Tensor, response: Tensor) -> dict[str, str]:
    """Return what is told of a prompt and the response so far."""
    return {"prompt": task.decode(prompt), "text": task.decode(response)}
