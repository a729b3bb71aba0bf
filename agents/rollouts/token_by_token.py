"""Agents that choose one token at a time, in environments whose actions are several tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from agents.rollouts.contract import ActingAgent, checked_actions
from rlhf_env.task import Task


def can_be_asked_again(observation: Any, space: spaces.Space[Any], vocab_size: int) -> bool:
    """Return True where the rest of an action can be asked for token by token.

    Args:
        observation: what the agent observes; it must be the text itself.
        space: of the tokens in one row's action.
        vocab_size: V, the number of tokens to choose from.
    """
    if not isinstance(space, spaces.MultiDiscrete) or not (space.nvec == vocab_size).all():
        return False
    return isinstance(observation, dict) and {"input_ids", "attention_mask"} <= set(observation)


def ask_again(
    agent: ActingAgent,
    observation: dict[str, Any],
    first: tuple[NDArray[Any], NDArray[Any]],
    size: int,
    task: Task,
    ends: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return whole actions of an agent that answers with one token per row.

    Args:
        agent: asked until every row is over or its action is full.
        observation: the one of its first answer; it is not changed.
        first: that answer, [N] tokens and [N] log-probabilities.
        size: n, tokens of an action.
        task: whose EOS ends a row.
        ends: [N] tokens of prompt and longest response together.

    Returns:
        [N, n] tokens and their log-probabilities, EOS and 0 after a row's end.
    """
    seen = {name: _copied(array) for name, array in observation.items()}
    lengths = _array(seen["attention_mask"]).sum(axis=1)
    count = len(lengths)
    tokens, logprobs = np.full((count, size), task.eos_id), np.zeros((count, size))
    tokens[:, 0], logprobs[:, 0] = first
    is_open, one_token = np.ones(count, dtype=bool), spaces.Discrete(task.vocab_size)
    for step in range(1, size):
        is_open &= (tokens[:, step - 1] != task.eos_id) & (lengths + 1 < ends)
        if not is_open.any():
            break
        for row in is_open.nonzero()[0].tolist():
            seen["input_ids"][row, int(lengths[row])] = int(tokens[row, step - 1])
            seen["attention_mask"][row, int(lengths[row])] = 1
        lengths = lengths + is_open
        chosen, logprob = checked_actions(agent.act(seen), one_token, count)
        # Nothing is appended to a finished text; the agent's answer for it is not used.
        tokens[is_open, step], logprobs[is_open, step] = chosen[is_open], logprob[is_open]
    return tokens, logprobs


def _copied(values: Any) -> Any:
    return values.clone() if isinstance(values, Tensor) else np.array(values)


def _array(values: Any) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
