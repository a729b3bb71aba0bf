"""The interface between an agent and the training loop, and the checks of what they exchange."""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from torch import Tensor

from rlhf_env.rollout import Rollout

# Columns of metrics.jsonl that mean the same for every agent, and are therefore reserved.
LOOP_COLUMNS = frozenset(
    {
        "update",
        "episodes",
        "score",
        "gold",
        "kl",
        "kl_k3",
        "response_length",
        "eos_rate",
        "tokens_per_second",
    }
)
# What rounding may add to the logarithm of a probability of 1.
_ROUNDING = 1e-5


@runtime_checkable
class ActingAgent(Protocol):
    """An object that chooses actions for a vector environment."""

    def act(self, observation: dict[str, Any]) -> tuple[Any, Any]:
        """Return the actions of all rows, [N] (or [N, n] tokens), and their [N] log pi(a|s)."""
        ...


@runtime_checkable
class CollectingAgent(Protocol):
    """An agent that makes its own rollouts, such as those of this package."""

    def collect(self) -> Rollout:
        """Return the rollout of the next update."""
        ...


@runtime_checkable
class MeasuringAgent(Protocol):
    """An agent whose rollouts are not all sampled and scored: it says what is logged of them."""

    def measure(self, rollout: Rollout) -> dict[str, float]:
        """Return some of `LOOP_COLUMNS`, as means over the episodes."""
        ...


class LearningAgent(ActingAgent, Protocol):
    """Any agent: it acts, and it learns from finished episodes."""

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout and return figures to be logged."""
        ...


def check_methods(name: str, value: Any, methods: tuple[str, ...], example: str) -> None:
    """Raise ValueError unless a value is an object, not a class, with the given methods.

    Args:
        name: how the caller wrote the argument.
        value: what was given.
        methods: the names it must have.
        example: how such an object is written.
    """
    if inspect.isclass(value):
        raise ValueError(
            f"{name} must be an object, got the class {value.__name__}; "
            f"make one of it, as in {value.__name__}(...)"
        )
    lacking = [method for method in methods if not callable(getattr(value, method, None))]
    if lacking:
        raise ValueError(
            f"{name} must have {example}, got {type(value).__name__} without {lacking[0]}"
        )


def check_observation(observation: Any) -> None:
    """Raise ValueError unless an observation is that of a vector environment."""
    names = ("input_ids", "attention_mask")
    if not isinstance(observation, Mapping):
        got = type(observation).__name__
    elif lacking := [name for name in names if name not in observation]:
        got = f"one without {lacking[0]!r}"
    else:
        shapes = [list(np.shape(observation[name])) for name in names]
        if shapes[0] == shapes[1] and len(shapes[0]) == 2:
            return
        got = f"shapes {shapes[0]} and {shapes[1]}"
    raise ValueError(
        "observation must be a dictionary of input_ids and attention_mask, both [N, L], as a "
        f"vector environment returns it, got {got}"
    )


def checked_actions(
    answer: Any, space: spaces.Space[Any], num_envs: int, *, one_token_too: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``act`` returned, as arrays: tokens, and log-probabilities.

    Args:
        answer: a pair; an axis of length 1 that is not due is removed.
        space: of the tokens in one row's action.
        num_envs: N.
        one_token_too: whether one token per row is accepted where an action has several.

    Returns:
        [N] or [N, n] tokens; [N], or [N, n] log-probabilities, not yet checked for their range.

    Raises:
        ValueError: if it is not a pair, or one of the two has another shape or type.
    """
    shape = (num_envs, *(space.shape or ()))
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise ValueError(
            f"act(observation) must return a pair of tokens {list(shape)} and their "
            f"log-probabilities, got {_kind(answer)}; write return tokens, logprobs"
        )
    shapes = ((num_envs,), shape) if one_token_too else (shape,)
    tokens = _array(answer[0], "tokens", "iu", shapes)
    # A decision of several tokens may be given one log-probability, or one for each.
    logprobs = _array(answer[1], "log-probabilities", "iuf", ((num_envs,), shape))
    return tokens, logprobs


def check_logprobs(logprobs: np.ndarray, episode: int) -> None:
    """Raise ValueError unless all log-probabilities that an action had are finite and <= 0."""
    if -math.inf < logprobs.min() and logprobs.max() <= _ROUNDING:
        return
    bad = logprobs[~(np.isfinite(logprobs) & (logprobs <= _ROUNDING))]
    raise ValueError(
        f"act(observation) must return log-probabilities that are finite and <= 0, got {bad[0]} "
        f"for episode {episode}; return log pi(a|s) of the token that was chosen, in nats"
    )


def checked_figures(told: Any) -> dict[str, float]:
    """Return what ``update`` returned as plain numbers.

    Raises:
        ValueError: if it is not a dictionary of numbers, or a name is one of `LOOP_COLUMNS`.
    """
    if not isinstance(told, Mapping):
        raise ValueError(
            f"update(rollout) must return a dictionary of numbers, got {type(told).__name__}; "
            "return {} if there is nothing to log"
        )
    for name in told:
        if not isinstance(name, str):
            raise ValueError(f"update(rollout) must name its figures by texts, got {name!r}")
        if name in LOOP_COLUMNS:
            raise ValueError(
                f"update(rollout) must not return {name!r}, which the training loop measures "
                f"itself; choose another name, such as 'agent_{name}'"
            )
    return {name: _number(name, value) for name, value in told.items()}


def _number(name: str, value: Any) -> float:
    is_one = isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1
    plain = value.item() if is_one else value
    try:
        if isinstance(plain, str | bytes):
            raise TypeError("a text")
        return float(plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"update(rollout) must return numbers, got {name!r}: {_kind(value)}; leave it out, "
            "or return one number of it"
        ) from error


def _array(values: Any, what: str, kinds: str, shapes: tuple[tuple[int, ...], ...]) -> np.ndarray:
    due = " or ".join(dict.fromkeys(str(list(shape)) for shape in shapes))
    expected = f"act(observation) must return {what} {due}"
    try:
        array = _plain_array(values)
    except (TypeError, ValueError) as error:
        # Rows of different lengths, or a type that NumPy does not have.
        raise ValueError(f"{expected}, got {_kind(values)}") from error
    if array.dtype.kind not in kinds:
        numbers = "numbers" if "f" in kinds else "integers"
        raise ValueError(f"{expected} of {numbers}, got {_kind(values)}")
    if array.shape in shapes:
        return array
    if array.ndim > 1 and array.shape[-1] == 1 and array.shape[:-1] in shapes:
        return array[..., 0]
    raise ValueError(f"{expected}, one row per environment row, got shape {list(array.shape)}")


def _plain_array(values: Any) -> np.ndarray:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    # NumPy has no 16-bit type of torch's.
    wide = values.detach().double() if values.is_floating_point() else values.detach()
    return wide.cpu().numpy()


def _kind(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} of {value.dtype} with shape {list(value.shape)}"
    return f"{type(value).__name__} {reprlib.repr(value)}" if value is not None else "None"
