"""Exact figures of policies on automaton tasks, besides their objective: how long responses are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from agents import Agent
from rlhf_env.exact.automaton import EOS, ChoosesByState, automaton_of

Array = NDArray[np.float64]


def length_figures(agent: Agent) -> Mapping[str, float]:
    """Return the expected length of responses, exactly, of all and of those that score nothing.

    Args:
        agent: whose policy is a table of an automaton's states, on a task with one prompt.

    Returns:
        ``exact_length``, ``exact_score``, ``wrong_length`` (given a score of 0) and ``wrong`` (the
        probability of that); lengths in tokens, EOS included.
    """
    ends = end_distribution(agent)
    automaton = automaton_of(agent.base.task)
    assert automaton is not None
    lengths, score = np.arange(1, len(ends) + 1), automaton.score.numpy()
    wrong = ends[:, score == 0.0]
    return {
        "exact_length": float(lengths @ ends.sum(axis=1)),
        "exact_score": float(ends.sum(axis=0) @ score),
        "wrong": float(wrong.sum()),
        "wrong_length": float(lengths @ wrong.sum(axis=1) / wrong.sum()),
    }


def end_distribution(agent: Agent) -> Array:
    """Return the probabilities [T, S] that a response has t + 1 tokens and ends in a state.

    Raises:
        ValueError: if the policy or the task is of another kind.
    """
    task, model = agent.base.task, agent.policy.model
    automaton = automaton_of(task)
    logits = model.state_logits() if isinstance(model, ChoosesByState) else None
    if automaton is None or logits is None or len(task.prompts) != 1:
        raise ValueError("the policy must be a table of the states of a task with one prompt")
    tables: Array = logits.detach().double().log_softmax(dim=-1).exp().numpy()
    moves, horizon = automaton.next_state.numpy(), task.max_new_tokens
    alive = np.zeros(automaton.num_states)
    alive[int(automaton.starts[0])] = 1.0
    ends = np.zeros((horizon, len(alive)))
    for time in range(horizon):
        chosen = alive[:, None] * tables[min(time, len(tables) - 1)]
        ends[time] = chosen[:, EOS]
        chosen[:, EOS] = 0.0
        alive = np.zeros(len(alive))
        np.add.at(alive, moves, chosen)
    ends[-1] += alive
    return ends


Probe = Callable[[Agent], Mapping[str, float]]
