"""The space of actions of several tokens, and the check of such actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

# As in the environment's own action space: a finite bound on log pi.
LOWEST_LOGPROB = -1e4


@dataclass(frozen=True, kw_only=True)
class TokenPlan:
    """Macro actions of N rows, unused tokens replaced by token 0."""

    tokens: NDArray[np.int64]
    """[N, n] the inner environment's actions."""
    logprobs: NDArray[np.float32] | None
    """[N, n] log pi(a|s) where actions hold it, else None."""

    def row_action(self, row: int, step: int) -> Any:
        """Return the action of a single environment at one step."""
        token = int(self.tokens[row, step])
        if self.logprobs is None:
            return token
        return {"token": token, "logprob": float(self.logprobs[row, step])}

    def actions(self, step: int) -> Any:
        """Return the actions of a vector environment at one step."""
        if self.logprobs is None:
            return self.tokens[:, step].copy()
        return {"token": self.tokens[:, step].copy(), "logprob": self.logprobs[:, step].copy()}


def macro_space(space: spaces.Space[Any], size: int, name: str) -> spaces.Space[Any]:
    """Return the space of ``size`` actions of an inner space.

    Args:
        space: the inner environment's space of one token.
        size: n.
        name: the name of the wrapper, for the error.

    Raises:
        ValueError: if the inner space is not one of tokens.
    """
    token, has_logprob = _token_space(space), isinstance(space, spaces.Dict)
    if token is None:
        raise ValueError(
            f"{name} needs Discrete actions inside, or Dict(token, logprob), got {space}; "
            f"put wrappers that change actions outside {name}"
        )
    tokens = spaces.MultiDiscrete(np.full(size, token.n))
    if not has_logprob:
        return tokens
    logprobs = spaces.Box(LOWEST_LOGPROB, 0.0, (size,), np.float32)
    return spaces.Dict(tokens=tokens, logprobs=logprobs)


def plan_tokens(
    actions: Any, space: spaces.Space[Any], size: int, remaining: NDArray[Any], eos_id: int | None
) -> TokenPlan:
    """Return checked macro actions of N rows.

    Args:
        actions: [N, n] ids, or {"tokens": [N, n], "logprobs": [N, n]}.
        space: the inner environment's space of one token.
        size: n.
        remaining: [N] how many more tokens each row's episode can take; 0 where none is open.
        eos_id: the token after which a row's tokens are ignored; None where inner actions are
            not token ids.

    Raises:
        ValueError: if shape, type or range of a used token is wrong, naming the row.
    """
    token = _token_space(space)
    assert token is not None, "macro_space has accepted the inner space"
    shape = (len(remaining), size)
    if not isinstance(space, spaces.Dict):
        tokens, is_used = _tokens(actions, shape, remaining, eos_id, int(token.n))
        return TokenPlan(tokens=tokens, logprobs=None)
    if not isinstance(actions, dict) or set(actions) != {"tokens", "logprobs"}:
        raise ValueError(
            'action must be {"tokens": ids [n], "logprobs": log pi(a|s) [n]} under '
            f'kl_penalty="sampled", got {actions!r}'
        )
    tokens, is_used = _tokens(actions["tokens"], shape, remaining, eos_id, int(token.n))
    logprobs = _array(actions["logprobs"], shape, "action logprobs").astype(np.float32)
    _check_range(logprobs, is_used, LOWEST_LOGPROB, 0.0, "action logprobs")
    return TokenPlan(tokens=tokens, logprobs=np.where(is_used, logprobs, np.float32(0.0)))


def _token_space(space: spaces.Space[Any]) -> spaces.Discrete | None:
    if isinstance(space, spaces.Dict) and set(space) == {"token", "logprob"}:
        space = space["token"]
    return space if isinstance(space, spaces.Discrete) else None


def _tokens(
    actions: Any,
    shape: tuple[int, int],
    remaining: NDArray[Any],
    eos_id: int | None,
    num_tokens: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the tokens [N, n], and which of them are used [N, n]."""
    tokens = _array(actions, shape, "action")
    if not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"action must hold integer token ids, got {tokens.dtype}")
    has_ended = np.zeros(shape, dtype=bool)
    if eos_id is not None:
        has_ended[:, 1:] = np.logical_or.accumulate(tokens == eos_id, axis=1)[:, :-1]
    is_used = ~has_ended & (np.arange(shape[1]) < remaining[:, None])
    _check_range(tokens, is_used, 0, num_tokens - 1, "action tokens")
    return np.where(is_used, tokens, 0).astype(np.int64), is_used


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Return a caller's numbers as an array.

    Raises:
        ValueError: if they are not an array of numbers.
    """
    try:
        return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {values!r}") from error


def _array(values: Any, shape: tuple[int, int], name: str) -> NDArray[Any]:
    array = as_array(values, name)
    if array.shape != shape:
        raise ValueError(
            f"{name} must have {shape[1]} entries for each of {shape[0]} rows, padded with "
            f"anything after the end, got shape {list(array.shape)}"
        )
    return array


def _check_range(
    values: NDArray[Any], is_used: NDArray[np.bool_], low: float, high: float, name: str
) -> None:
    is_bad = is_used & ~((values >= low) & (values <= high))
    if is_bad.any():
        row, step = np.argwhere(is_bad)[0]
        raise ValueError(
            f"{name} must be in [{low:g}, {high:g}], got {values[row, step]} "
            f"at position {step} of row {row}"
        )
