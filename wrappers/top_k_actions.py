"""A choice among the reference's best tokens."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from wrappers.macro_space import as_array
from wrappers.order import token_mdp
from wrappers.top_k import check_token_ids, rank_space, top_k


class TopKActions(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Choose among the k tokens that the reference finds most probable; action 0 is the best.

    So an agent with a small discrete action space can write in a large vocabulary. EOS can only be
    chosen where it is among the k, unless ``always_eos`` keeps the last rank for it. The token is
    ``info["token"]``. Under ``kl_penalty="sampled"`` without a policy the action is
    ``{"token": rank, "logprob": log pi}``.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import TopKActions
        >>> env = TopKActions(gym.make("RLHF-v0", task="toy15"), k=2)
        >>> _ = env.reset(seed=0)
        >>> env.step(1)[4]["token"]
        2.0
    """

    def __init__(self, env: gym.Env[Any, Any], k: int, always_eos: bool = False) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose actions are token ids.
            k: how many tokens to choose from, at most V.
            always_eos: put EOS in the place of the k-th token where it is not among them.

        Raises:
            ValueError: if k is out of range, or actions are not token ids.
        """
        self.top_k = top_k(env, k, always_eos)
        check_token_ids(env.action_space, token_mdp(env, "TopKActions"))
        RecordConstructorArgs.__init__(self, k=k, always_eos=always_eos)
        gym.Wrapper.__init__(self, env)
        self.action_space = rank_space(env.action_space, k)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append the token of a rank.

        Raises:
            ValueError: if the action is not in the action space; nothing has changed then.
        """
        mdp = token_mdp(self.env, "TopKActions")
        is_dict = isinstance(action, dict) and "token" in action
        rank = as_array(action["token"] if is_dict else action, "action")
        token = int(self.top_k.chosen(rank[None], mdp)[0])
        inner = {**action, "token": token} if is_dict else token
        observation, reward, terminated, truncated, info = self.env.step(inner)
        info = {**info, "token": float(token)}
        return observation, float(reward), terminated, truncated, info
