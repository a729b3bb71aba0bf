"""Masks of the tokens that an agent may choose, for agents that accept masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from rlhf_env.checks import check_count
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from wrappers.stack.order import TOKEN_STEPS, check_order, token_mdp
from wrappers.stack.vector_base import VectorBase
from wrappers.top_k_actions import check_token_ids


class ActionMasks(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Offer ``action_masks()``, the tokens that an agent may choose now, [V] bool.

    This is the method that sb3-contrib's ``MaskablePPO`` calls. The environment itself still
    accepts every token. At least one token is always allowed: ``top_k`` counts among the
    ``allowed_tokens``, and ``eos_at_limit`` comes before both.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import ActionMasks
        >>> env = ActionMasks(gym.make("RLHF-v0", task="toy15"), top_k=2, eos_at_limit=True)
        >>> _ = env.reset(seed=0)
        >>> env.action_masks().tolist()
        [True, False, True]
        >>> _ = env.step(2), env.step(2)
        >>> env.action_masks().tolist()
        [True, False, False]
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        top_k: int | None = None,
        allowed_tokens: Sequence[int] | None = None,
        eos_at_limit: bool = False,
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose actions are token ids.
            top_k: allow the k tokens that the reference finds most probable; all unless given.
            allowed_tokens: allow these ids only; all unless given.
            eos_at_limit: allow only EOS as the last token before ``max_new_tokens``, so that every
                response ends by itself.

        Raises:
            TypeError: if ``env`` is another environment.
            ValueError: if an argument is out of range, or actions are not token ids.
        """
        self.masks = token_masks(env, env.action_space, top_k, allowed_tokens, eos_at_limit)
        RecordConstructorArgs.__init__(
            self, top_k=top_k, allowed_tokens=allowed_tokens, eos_at_limit=eos_at_limit
        )
        gym.Wrapper.__init__(self, env)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the tokens that may come next, [V] bool, fresh memory."""
        return self.masks.of(token_mdp(self.env))[0].cpu().numpy()

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes unchanged."""
        return rollout


class VectorActionMasks(VectorBase, RecordConstructorArgs):
    """Vector version of `ActionMasks`: ``action_masks()`` returns [N, V] bool.

    `wrappers.stable_baselines3.VecEnv` hands each row its own mask.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers.vector import ActionMasks
        >>> envs = ActionMasks(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"), top_k=2)
        >>> _ = envs.reset(seed=0)
        >>> envs.action_masks().tolist()
        [[True, False, True], [True, False, True]]
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        top_k: int | None = None,
        allowed_tokens: Sequence[int] | None = None,
        eos_at_limit: bool = False,
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose actions are token ids.
            top_k: allow the k tokens that the reference finds most probable; all unless given.
            allowed_tokens: allow these ids only; all unless given.
            eos_at_limit: allow only EOS as the last token before ``max_new_tokens``, so that every
                response ends by itself.

        Raises:
            TypeError: if ``env`` is another environment.
            ValueError: if an argument is out of range, or actions are not token ids.
        """
        self.masks = token_masks(env, env.single_action_space, top_k, allowed_tokens, eos_at_limit)
        RecordConstructorArgs.__init__(
            self, top_k=top_k, allowed_tokens=allowed_tokens, eos_at_limit=eos_at_limit
        )
        super().__init__(env)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the tokens that may come next in each row, [N, V] bool, fresh memory."""
        return self.masks.of(token_mdp(self.env)).cpu().numpy()

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes unchanged."""
        return rollout


@dataclass(frozen=True, kw_only=True)
class TokenMasks:
    """Which tokens may come next."""

    allowed: Tensor
    """[V] bool."""
    top_k: int | None
    """How many of the allowed ones, by the reference's probability; None for all."""
    eos_at_limit: bool
    """Whether the last token before the limit must be EOS."""

    def of(self, mdp: TokenMDP) -> Tensor:
        """Return the masks of all rows, [N, V] bool; ties of the reference go to the smaller id."""
        masks = self.allowed.expand(len(mdp.tokens), -1).clone()
        if self.top_k is not None:
            logits = mdp.reference.next_logits(mdp.tokens, mdp.lengths).masked_fill(
                ~self.allowed, -torch.inf
            )
            best = logits.argsort(dim=1, descending=True, stable=True)[:, : self.top_k]
            masks &= torch.zeros_like(masks).scatter(1, best, True)
        if self.eos_at_limit:
            is_eos = torch.arange(len(self.allowed), device=mdp.device) == mdp.task.eos_id
            at_limit = mdp.response_lengths + 1 == mdp.max_new_tokens
            masks = torch.where(at_limit[:, None], is_eos, masks)
        return masks


def token_masks(
    env: Any,
    space: gym.Space[Any],
    top_k: int | None,
    allowed_tokens: Sequence[int] | None,
    eos_at_limit: bool,
) -> TokenMasks:
    """Return the masks of a wrapper around ``env``, whose space of one action is ``space``.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if an argument is out of range, or actions are not token ids.
    """
    mdp = check_order(env, "ActionMasks", TOKEN_STEPS)
    check_token_ids(space, mdp, "ActionMasks")
    vocab_size = mdp.task.vocab_size
    if top_k is not None:
        check_count("top_k", top_k)
    if not isinstance(eos_at_limit, bool):
        raise ValueError(f"eos_at_limit must be True or False, got {eos_at_limit!r}")
    if not isinstance(allowed_tokens, Iterable | None):
        raise ValueError(f"allowed_tokens must be a list of token ids, got {allowed_tokens!r}")
    ids = list(range(vocab_size)) if allowed_tokens is None else list(allowed_tokens)
    if not ids:
        raise ValueError("allowed_tokens must name at least one token id, got none")
    for token in ids:
        check_count("allowed_tokens", token, minimum=0)
        if token >= vocab_size:
            raise ValueError(f"allowed_tokens must be below {vocab_size}, got {token}")
    allowed = torch.zeros(vocab_size, dtype=torch.bool, device=mdp.device)
    allowed[ids] = True
    return TokenMasks(allowed=allowed, top_k=top_k, eos_at_limit=eos_at_limit)
