"""Exact answers where reference and score are functions of a state: dynamic programming.

V(T, s) = score(s) and, before, V(t, s) = beta log Σ_a pi_ref(a|s) exp(Q(t, s, a) / beta) with
Q = score(s) for EOS and gamma · V(t + 1, next(s, a)) for other tokens; as everywhere in
`rlhf_env.exact`, the score of a response that reaches the horizon is paid with its last token, so
that V(T, .) is not discounted. T · S values are kept, and nothing is enumerated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_env.exact.automaton import Automaton, ChoosesByState, automaton_of
from rlhf_env.exact.bellman import Array, expected, optimum, state_kl
from rlhf_env.exact.prompt import chosen_prompt
from rlhf_env.exact.response_tree import num_states, prefixes
from rlhf_env.task import Task

Prefix = tuple[int, ...]
States = NDArray[np.int64]
Rows = Callable[[int, States], Array]
Answer = TypeVar("Answer", covariant=True)


@dataclass(frozen=True, kw_only=True)
class StateProblem:
    """One prompt of an automaton task, as arrays."""

    automaton: Automaton
    """What the responses do to the state."""
    horizon: int
    """T."""
    start: int
    """The state before the first token."""
    ref_logprobs: Array
    """[T or 1, S, V] log pi_ref; from the last time on it stays what it is."""

    @cached_property
    def next_state(self) -> States:
        """[S, V]."""
        return self.automaton.next_state.numpy()

    @cached_property
    def score(self) -> Array:
        """[S]."""
        return self.automaton.score.numpy()

    @cached_property
    def all_states(self) -> States:
        """[S] 0 … S − 1."""
        return np.arange(self.automaton.num_states)

    def reference(self, time: int, states: States) -> Array:
        """Return log pi_ref in some states, [n, V]."""
        return self.ref_logprobs[min(time, len(self.ref_logprobs) - 1), states]

    def q(self, time: int, states: States, following: Array, ended: Array) -> Array:
        """Return the Q value of each token in some states, [n, V].

        Args:
            time: tokens chosen before.
            states: [n].
            following: [S] the values of the states one token later.
            ended: [S] the value of ending in a state.
        """
        q = following[self.next_state[states]]
        q[:, 0] = ended[states]
        return q

    def state(self, prefix: Prefix) -> int:
        """Return the state after some tokens.

        Raises:
            KeyError: if they are not a prefix after which a token is chosen.
        """
        tokens_fit = all(0 < token < self.automaton.vocab_size for token in prefix)
        if len(prefix) >= self.horizon or not tokens_fit:
            raise KeyError(prefix)
        state = self.start
        for token in prefix:
            state = int(self.next_state[state, token])
        return state


class _ByPrefix(Mapping[Prefix, Answer]):
    """What holds for each prefix, looked up by its state; there may be too many to list."""

    def __init__(self, problem: StateProblem) -> None:
        self.problem = problem

    def __iter__(self) -> Iterator[Prefix]:
        tokens = list(range(1, self.problem.automaton.vocab_size))
        depths = range(self.problem.horizon)
        return itertools.chain.from_iterable(prefixes(tokens, depth) for depth in depths)

    def __len__(self) -> int:
        return num_states(self.problem.automaton.vocab_size, self.problem.horizon)


class StatePolicy(_ByPrefix[tuple[float, ...]]):
    """Prefix -> probabilities of the V next tokens, of a policy that sees time and state."""

    def __init__(self, problem: StateProblem, logprobs: Rows) -> None:
        """Take ``logprobs(time, states [n]) -> [n, V]``, in nats."""
        super().__init__(problem)
        self.logprobs = logprobs

    def __getitem__(self, prefix: Prefix) -> tuple[float, ...]:
        """Return the probabilities after a prefix."""
        state = np.array([self.problem.state(prefix)])
        return tuple(np.exp(self.logprobs(len(prefix), state))[0].tolist())


class StateValues(_ByPrefix[float]):
    """Prefix -> expected return from there on."""

    def __init__(self, problem: StateProblem, values: Array) -> None:
        """Take the values [T, S]."""
        super().__init__(problem)
        self.by_state = values

    def __getitem__(self, prefix: Prefix) -> float:
        """Return the value of a prefix."""
        return float(self.by_state[len(prefix), self.problem.state(prefix)])


def state_problem(task: Task, prompt_index: int | None) -> StateProblem | None:
    """Return the arrays of one prompt of an automaton task; None for every other task.

    Raises:
        ValueError: if the prompt is not given.
    """
    automaton = automaton_of(task)
    if automaton is None:
        return None
    return StateProblem(
        automaton=automaton,
        horizon=task.max_new_tokens,
        start=automaton.start_of(task.prompts[chosen_prompt(task, prompt_index)]),
        ref_logprobs=_log_softmax(task.reference.state_logits()),  # type: ignore[operator]
    )


def solve_by_state(
    problem: StateProblem, kl_coef: float, gamma: float
) -> tuple[StateValues, StatePolicy]:
    """Return the values and the policy that maximize the KL-regularized return."""
    values = np.empty((problem.horizon, problem.automaton.num_states))

    def best(time: int, states: States) -> tuple[Array, Array]:
        is_last = time == problem.horizon - 1
        following = problem.score if is_last else gamma * values[time + 1]
        q = problem.q(time, states, following, problem.score)
        return optimum(q, problem.reference(time, states), kl_coef)

    for time in reversed(range(problem.horizon)):
        values[time], _ = best(time, problem.all_states)
    # The policy is recomputed on request: storing it would take V times the memory.
    policy = StatePolicy(problem, lambda time, states: best(time, states)[1])
    return StateValues(problem, values), policy


def evaluate_by_state(
    problem: StateProblem, logprobs: Rows, kl_coef: float, gamma: float
) -> tuple[StateValues, float, float]:
    """Evaluate a policy of time and state: values, E[score] and KL, as `Evaluation`."""
    states, score, nothing = problem.all_states, problem.score, np.zeros_like(problem.score)
    values = np.empty((problem.horizon, len(states)))
    following, reward, kl = score, score, nothing
    for time in reversed(range(problem.horizon)):
        chosen = logprobs(time, states)
        probabilities = np.exp(chosen)
        cost = state_kl(chosen, problem.reference(time, states))
        paid = kl_coef * cost if kl_coef > 0 else nothing
        values[time] = expected(probabilities, problem.q(time, states, following, score)) - paid
        reward = expected(probabilities, problem.q(time, states, reward, score))
        kl = expected(probabilities, problem.q(time, states, kl, nothing)) + cost
        following = gamma * values[time]
    return StateValues(problem, values), float(reward[problem.start]), float(kl[problem.start])


def state_rows(problem: StateProblem, policy: object) -> Rows | None:
    """Return the log-probabilities of a policy as a function of time and state.

    Args:
        problem: the task.
        policy: what `solve` returned for it, a model that chooses by state, or probabilities
            [S, V] or [T, S, V].

    Returns:
        None where the policy is, or may be, a function of the whole prefix.

    Raises:
        ValueError: if an array is given that has another shape or holds no probabilities.
    """
    if isinstance(policy, StatePolicy):
        same = np.array_equal(policy.problem.next_state, problem.next_state)
        return policy.logprobs if same and policy.problem.horizon == problem.horizon else None
    if isinstance(policy, ChoosesByState):
        logits = policy.state_logits()
        same = torch.equal(policy.next_state.cpu(), problem.automaton.next_state)
        return None if logits is None or not same else _rows(_log_softmax(logits))
    if isinstance(policy, np.ndarray | Tensor):
        return _rows(_checked_log(problem, np.asarray(policy, dtype=np.float64)))
    return None


def _rows(table: Array) -> Rows:
    return lambda time, states: table[min(time, len(table) - 1), states]


def _log_softmax(logits: Tensor) -> Array:
    with torch.no_grad():
        return logits.detach().double().log_softmax(dim=-1).cpu().numpy()


def _checked_log(problem: StateProblem, probabilities: Array) -> Array:
    shape = (problem.horizon, problem.automaton.num_states, problem.automaton.vocab_size)
    if probabilities.shape not in (shape, shape[1:]):
        raise ValueError(
            f"a policy given as an array must be [S, V] = {list(shape[1:])} or [T, S, V] = "
            f"{list(shape)}, got {list(probabilities.shape)}"
        )
    table = probabilities.reshape(-1, *shape[1:])
    if not (table >= 0).all() or not (np.abs(table.sum(-1) - 1.0) <= 1e-4).all():
        raise ValueError("a policy given as an array must hold probabilities that sum to 1")
    with np.errstate(divide="ignore"):
        return np.log(table)
