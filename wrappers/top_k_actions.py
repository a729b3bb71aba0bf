"""A choice among the reference's best tokens."""

from __future__ import annotations

from dataclasses import dataclass
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

from rlhf_env.checks import check_count
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.mdp.spaces import wants_logprob
from wrappers.macro.action_space import as_array
from wrappers.stack.order import TOKEN_STEPS, check_order, token_mdp
from wrappers.stack.rows import join_info, split_info, step_info
from wrappers.stack.vector_base import VectorBase


class TopKActions(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Choose among the k tokens that the reference finds most probable; action 0 is the best.

    An agent with a small discrete action space can thus use a large vocabulary. EOS can only be
    chosen where it is among the k, unless ``always_eos`` reserves the last rank for it. The token
    is ``info["token"]``. Under ``kl_penalty="sampled"`` without a policy the action is
    ``{"token": rank, "logprob": log pi}``.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import TopKActions
        >>> env = TopKActions(gym.make("RLHF-v0", task="toy15"), k=2)
        >>> _ = env.reset(seed=0)
        >>> env.step(1)[4]["token"]
        2.0
    """

    adds_info = ("token",)

    def __init__(self, env: gym.Env[Any, Any], k: int, always_eos: bool = False) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose actions are token ids.
            k: the number of tokens to choose from, at most V.
            always_eos: put EOS in the place of the k-th token where it is not among them.

        Raises:
            ValueError: if k is out of range, or actions are not token ids.
        """
        self.top_k = top_k(env, env.action_space, k, always_eos)
        RecordConstructorArgs.__init__(self, k=k, always_eos=always_eos)
        gym.Wrapper.__init__(self, env)
        self.action_space = rank_space(env.action_space, k)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append the token of a rank.

        Raises:
            ValueError: if the action is not in the action space; nothing has changed then.
        """
        is_dict = isinstance(action, dict) and "token" in action
        rank = as_array(action["token"] if is_dict else action, "action")
        token = int(self.top_k.chosen(rank[None], token_mdp(self.env))[0])
        inner = {**action, "token": token} if is_dict else token
        observation, reward, terminated, truncated, info = self.env.step(inner)
        info = {**info, "token": float(token)}
        return observation, float(reward), terminated, truncated, info


class VectorTopKActions(VectorBase, RecordConstructorArgs):
    """Vector version of `TopKActions`; actions are [N] ranks.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import TopKActions
        >>> envs = TopKActions(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"), k=2)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([0, 1]))[4]["token"].tolist()
        [0.0, 2.0]
    """

    adds_info = ("token",)

    def __init__(self, env: VectorEnv[Any, Any, Any], k: int, always_eos: bool = False) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose actions are token ids.
            k: the number of tokens to choose from, at most V.
            always_eos: put EOS in the place of the k-th token where it is not among them.

        Raises:
            ValueError: if k is out of range, or actions are not token ids.
        """
        self.top_k = top_k(env, env.single_action_space, k, always_eos)
        RecordConstructorArgs.__init__(self, k=k, always_eos=always_eos)
        super().__init__(env)
        self.single_action_space = rank_space(env.single_action_space, k)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append the token of a rank in every row whose episode is open.

        Returns:
            Observations, rewards [N], terminated [N], truncated [N], info.

        Raises:
            ValueError: if an action is not in the action space; no row has changed then.
        """
        is_dict = isinstance(actions, dict) and "token" in actions
        ranks = actions["token"] if is_dict else actions
        tokens = self.top_k.chosen(ranks, token_mdp(self.env))
        inner = {**actions, "token": tokens} if is_dict else tokens
        observations, rewards, terminated, truncated, info = self.env.step(inner)
        rows = split_info(info, self.num_envs)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            own = step_info(row)
            if own is not None:
                own["token"] = float(token)
        info = join_info(rows, tensors=isinstance(rewards, Tensor))
        return observations, rewards, terminated, truncated, info


@dataclass(frozen=True, kw_only=True)
class TopK:
    """The mapping from ranks to tokens."""

    k: int
    """The number of tokens to choose from."""
    always_eos: bool
    """Whether EOS takes the last rank where it is not among the k best."""

    def tokens(self, mdp: TokenMDP) -> Tensor:
        """Return the ids of rank 0 to k − 1 for every row, [N, k]; ties go to the smaller id."""
        logits = mdp.reference.next_logits(mdp.tokens, mdp.lengths)
        ranked = logits.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        if self.always_eos:
            has_eos = (ranked == mdp.task.eos_id).any(dim=1)
            ranked[:, -1] = torch.where(has_eos, ranked[:, -1], mdp.task.eos_id)
        return ranked

    def chosen(self, ranks: Any, mdp: TokenMDP) -> NDArray[np.int64]:
        """Return the tokens [N] of some ranks [N]; 0 for rows without an open episode.

        Raises:
            ValueError: if there is not one rank in [0, k) for every row.
        """
        given, is_open = as_array(ranks, "action"), mdp.is_open.cpu().numpy()
        if given.shape != is_open.shape or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(
                f"action must be one integer rank for each of {len(is_open)} rows, got "
                f"{given.dtype} of shape {list(given.shape)}"
            )
        bad = is_open & ((given < 0) | (given >= self.k))
        if bad.any():
            row = int(bad.nonzero()[0][0])
            raise ValueError(
                f"action must be a rank in [0, {self.k}), got {given[row]} in row {row}"
            )
        used = torch.as_tensor(np.where(is_open, given, 0), device=mdp.device)
        tokens = self.tokens(mdp).gather(1, used.long()[:, None]).squeeze(1)
        return np.where(is_open, tokens.cpu().numpy(), 0)


def top_k(env: Any, space: spaces.Space[Any], k: int, always_eos: bool) -> TopK:
    """Return the ranks of a wrapper around ``env``.

    Args:
        env: what is to be wrapped.
        space: its space of one action.
        k: the number of tokens to choose from.
        always_eos: whether EOS takes the last rank where it is not among the k best.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if k is out of range, or the actions of ``env`` are not token ids.
    """
    mdp = check_order(env, "TopKActions", TOKEN_STEPS)
    check_count("k", k)
    if k > mdp.task.vocab_size:
        raise ValueError(f"k must be at most the vocabulary size {mdp.task.vocab_size}, got {k}")
    if not isinstance(always_eos, bool):
        raise ValueError(f"always_eos must be True or False, got {always_eos!r}")
    check_token_ids(space, mdp, "TopKActions")
    return TopK(k=k, always_eos=always_eos)


def check_token_ids(space: spaces.Space[Any], mdp: TokenMDP, name: str) -> None:
    """Raise ValueError, naming a wrapper, if an action of one row is not a token id."""
    token = space["token"] if wants_logprob(mdp) and isinstance(space, spaces.Dict) else space
    if not isinstance(token, spaces.Discrete) or token.n != mdp.task.vocab_size:
        raise ValueError(
            f"{name} needs token ids inside, got actions {space}; leave out the wrapper that "
            "has changed them"
        )


def rank_space(space: spaces.Space[Any], k: int) -> spaces.Space[Any]:
    """Return the space of one rank, in place of the token in ``space``."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict(token=spaces.Discrete(k), logprob=space["logprob"])
    return spaces.Discrete(k)
