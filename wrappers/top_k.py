"""Actions that are ranks among the reference's best tokens: their space and their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlhf_env.checks import check_count
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.mdp.spaces import wants_logprob
from wrappers.macro_space import as_array
from wrappers.order import check_token_steps, token_mdp


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Which tokens a rank stands for.

    Attributes:
        k: how many tokens there are to choose from.
        always_eos: whether EOS takes the last rank where it is not among the k best.
    """

    k: int
    always_eos: bool

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


def top_k(env: Any, k: int, always_eos: bool) -> TopK:
    """Return the ranks that may be the actions of a wrapper around ``env``.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if k is out of range, or the actions of ``env`` are not token ids.
    """
    mdp = token_mdp(env, "TopKActions")
    check_token_steps(env, "TopKActions")
    check_count("k", k)
    if k > mdp.task.vocab_size:
        raise ValueError(f"k must be at most the {mdp.task.vocab_size} tokens there are, got {k}")
    if not isinstance(always_eos, bool):
        raise ValueError(f"always_eos must be True or False, got {always_eos!r}")
    return TopK(k=k, always_eos=always_eos)


def check_token_ids(space: spaces.Space[Any], mdp: TokenMDP) -> None:
    """Raise ValueError if an action of one row is not a token id."""
    token = space["token"] if wants_logprob(mdp) and isinstance(space, spaces.Dict) else space
    if not isinstance(token, spaces.Discrete) or token.n != mdp.task.vocab_size:
        raise ValueError(
            f"TopKActions needs token ids inside, got actions {space}; leave out the wrapper that "
            "has changed them"
        )


def rank_space(space: spaces.Space[Any], k: int) -> spaces.Space[Any]:
    """Return the space of one rank, in place of the token in ``space``."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict(token=spaces.Discrete(k), logprob=space["logprob"])
    return spaces.Discrete(k)
