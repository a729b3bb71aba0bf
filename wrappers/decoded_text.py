"""The decoded text, in the info."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.task import Task
from wrappers.stack.info_view import InfoView, VectorInfoView
from wrappers.stack.order import VIEW, check_order, token_mdp
from wrappers.stack.rows import join_info, row_text, split_info


class DecodedText(InfoView, RecordConstructorArgs):
    """Add the prompt as ``info["prompt"]`` and the response so far as ``info["text"]``.

    The observation is unchanged: a space of texts would need an alphabet and a maximum length,
    which a vocabulary of bytes does not have, and agents that read vectors could not use it.
    Special tokens are left out, as in rewards of texts; control characters are kept, and only
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
            TypeError: if it is another environment.
        """
        check_order(env, "DecodedText", VIEW)
        RecordConstructorArgs.__init__(self)
        InfoView.__init__(self, env)

    def shown(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return the info with the texts."""
        mdp = token_mdp(self.env)
        prompt = mdp.tokens[0, : mdp.prompt_lengths[0]]
        return {**info, **texts(mdp.task, prompt, mdp.history(0))}


class VectorDecodedText(VectorInfoView, RecordConstructorArgs):
    """Vector version of `DecodedText`; ``info["prompt"]`` and ``info["text"]`` are [N] objects.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import DecodedText
        >>> envs = DecodedText(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"))
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([1, 2]))[4]["text"].tolist()
        ['1', '2']
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")``.

        Raises:
            TypeError: if it is another environment.
        """
        check_order(env, "DecodedText", VIEW)
        RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def shown(self, info: dict[str, Any], tensors: bool) -> dict[str, Any]:
        """Return the info with the texts of all rows that were reset or took a step."""
        mdp, rows = token_mdp(self.env), split_info(info, self.num_envs)
        for number, row in enumerate(rows):
            if "final_info" in row:
                row["final_info"] |= texts(mdp.task, *row_text(mdp, number, row)[:2])
            if row:
                prompt = mdp.tokens[number, : mdp.prompt_lengths[number]]
                row |= texts(mdp.task, prompt, mdp.history(number))
        return join_info(rows, tensors)


def texts(task: Task, prompt: Tensor, response: Tensor) -> dict[str, str]:
    """Return the info entries for a prompt and the response so far."""
    return {"prompt": task.decode(prompt), "text": task.decode(response)}
