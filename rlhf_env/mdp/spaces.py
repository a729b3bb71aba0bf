"""Observation and action spaces, and what counts as an action."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP


def observation_space(mdp: TokenMDP) -> spaces.Dict:
    """Return the space of prompt + prefix, padded on the right to L."""
    shape = (mdp.max_tokens,)
    return spaces.Dict(
        input_ids=spaces.Box(0, mdp.task.vocab_size - 1, shape, np.int64),
        attention_mask=spaces.Box(0, 1, shape, np.int8),
    )


def action_space(mdp: TokenMDP) -> spaces.Discrete | spaces.Dict:
    """Return Discrete(V), or with the token its log-probability where the KL needs it."""
    token = spaces.Discrete(mdp.task.vocab_size)
    if not wants_logprob(mdp):
        return token
    # A finite bound: Gymnasium's checker warns of an infinite one.
    return spaces.Dict(token=token, logprob=spaces.Box(-1e4, 0.0, (), np.float32))


def wants_logprob(mdp: TokenMDP) -> bool:
    """Return whether an action carries log pi(a|s)."""
    return mdp.options.kl_penalty == "sampled" and mdp.options.policy is None


def parse_action(action: Any, mdp: TokenMDP) -> tuple[int, float | None]:
    """Return the token and, where the action carries it, log pi(a|s).

    Raises:
        ValueError: if the action is not in the action space.
    """
    vocab_size = mdp.task.vocab_size
    logprob = None
    if wants_logprob(mdp):
        if not isinstance(action, dict) or set(action) != {"token", "logprob"}:
            raise ValueError(
                'action must be {"token": id, "logprob": log pi(a|s)} under '
                f'kl_penalty="sampled", got {action!r}'
            )
        action, logprob = action["token"], _scalar(action["logprob"])
        if not isinstance(logprob, int | float) or not -1e4 <= logprob <= 0:
            raise ValueError(f"action logprob must be a number in [-1e4, 0], got {logprob!r}")
        logprob = float(logprob)
    token = _scalar(action)
    is_integer = isinstance(token, int) and not isinstance(token, bool)
    if not is_integer or not 0 <= token < vocab_size:
        raise ValueError(f"action must be a token id in [0, {vocab_size}), got {action!r}")
    return token, logprob


def parse_actions(actions: Any, rows: Tensor, mdp: TokenMDP) -> tuple[Tensor, Tensor | None]:
    """Return the tokens [N] and, where actions carry them, the log-probabilities [N].

    Args:
        actions: what the caller handed to ``step``, one action per row.
        rows: [N] bool, the rows whose actions count; others are replaced by token 0.
        mdp: the MDP they are for.

    Raises:
        ValueError: if shape, type or range is wrong, naming the row.
    """
    logprobs = None
    if wants_logprob(mdp):
        if not isinstance(actions, dict) or set(actions) != {"token", "logprob"}:
            raise ValueError(
                'actions must be {"token": ids [N], "logprob": log pi(a|s) [N]} under '
                f'kl_penalty="sampled", got {type(actions).__name__}'
            )
        logprobs = _vector(actions["logprob"], rows, "action logprobs").float()
        actions = actions["token"]
        logprobs = torch.where(rows, logprobs, 0.0)
        bad = ~((logprobs <= 0) & (logprobs >= -1e4))
        if bad.any():
            row = int(bad.nonzero()[0])
            raise ValueError(
                f"action logprobs must lie in [-1e4, 0], got {float(logprobs[row])} in row {row}"
            )
    tokens = _vector(actions, rows, "actions")
    if tokens.dtype.is_floating_point or tokens.dtype == torch.bool:
        raise ValueError(f"actions must be integer token ids, got {tokens.dtype}")
    tokens = torch.where(rows, tokens.long(), 0)
    bad = (tokens < 0) | (tokens >= mdp.task.vocab_size)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"action must be a token id in [0, {mdp.task.vocab_size}), "
            f"got {int(tokens[row])} in row {row}"
        )
    return tokens, logprobs


def _scalar(value: Any) -> Any:
    """Return the Python number in a number, a 0-d array or a 0-d tensor; else the value."""
    if isinstance(value, np.generic | np.ndarray | Tensor) and value.ndim == 0:
        return value.item()
    return value


def _vector(values: Any, rows: Tensor, name: str) -> Tensor:
    try:
        vector = torch.as_tensor(values, device=rows.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be numbers, one per row, got {values!r}") from error
    if vector.shape != rows.shape:
        raise ValueError(
            f"{name} must have shape {list(rows.shape)}, one per row, got {list(vector.shape)}"
        )
    return vector
