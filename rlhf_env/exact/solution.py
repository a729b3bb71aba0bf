"""Exact answers to tasks small enough to enumerate: the optimal policy, the worth of any policy.

The return of an episode is Σ_t gamma^t (r_t − beta · KL_t): r_t is the response's score at the step
that ends it and 0 before, and KL_t = KL(pi(.|s_t) || pi_ref(.|s_t)). A response that reaches the
horizon without EOS is finished and scored like any other. All arithmetic is in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rlhf_env.exact.enumerated import (
    EnumeratedTask,
    TokenProbabilities,
    agent_logprobs,
    enumerate_task,
    function_logprobs,
    model_logprobs,
)
from rlhf_env.task import Task

__all__ = ["Evaluation", "Prefix", "Solution", "TokenProbabilities", "evaluate", "solve"]

Prefix = tuple[int, ...]
Array = NDArray[np.float64]
Policy = (
    Callable[[Prefix], Sequence[float]]
    | Mapping[Prefix, Sequence[float]]
    | nn.Module
    | TokenProbabilities
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a policy is worth.

    Attributes:
        objective: E[Σ_t gamma^t (r_t − beta · KL_t)], reward and KL both discounted.
        reward: E[score of the response], not discounted.
        kl: KL of the distributions of whole responses in nats, not discounted.
        values: prefix -> expected return from that prefix on, discounted from there.
    """

    objective: float
    reward: float
    kl: float
    values: dict[Prefix, float]


@dataclass(frozen=True, kw_only=True)
class Solution(Evaluation):
    """The optimal policy and what it is worth.

    Attributes:
        policy: prefix -> probabilities of the V next tokens.
    """

    policy: dict[Prefix, tuple[float, ...]]


def solve(
    task: Task, kl_coef: float, gamma: float = 1.0, *, prompt_index: int | None = None
) -> Solution:
    """Compute the policy that maximises the KL-regularised return, by soft Bellman recursion.

    V(s) = beta log Σ_a pi_ref(a|s) exp(Q(s,a)/beta) and pi*(a|s) = pi_ref(a|s) exp((Q − V)/beta);
    Q of a token that ends the response is its score, of another gamma · V(next). At gamma = 1
    that is pi* ∝ pi_ref exp(score/beta) over whole responses. With beta = 0 the optimum is greedy,
    and tokens that tie share by their reference probabilities.

    Args:
        task: a task with at most a million responses.
        kl_coef: beta >= 0.
        gamma: discount per token, in [0, 1].
        prompt_index: which of the task's prompts; needed if it has several.

    Raises:
        ValueError: if the task is too large, a number is out of range, or the prompt is not told.
    """
    _check_coefficients(kl_coef, gamma)
    tree = enumerate_task(task, prompt_index)
    ref_logprobs = model_logprobs(tree, task.reference)
    optimum = _softmax_optimum if kl_coef > 0 else _greedy_optimum
    logprobs = np.empty_like(ref_logprobs)

    def best(states: slice, q: Array) -> Array:
        values, logprobs[states] = optimum(q, ref_logprobs[states], kl_coef)
        return values

    values = _back_up(tree, tree.scores, gamma, best)
    states = tree.states
    return Solution(
        objective=float(values[0]),
        reward=_expected_reward(tree, logprobs),
        kl=_expected_kl(tree, logprobs, ref_logprobs),
        values=dict(zip(states, values.tolist(), strict=True)),
        policy=dict(zip(states, map(tuple, np.exp(logprobs).tolist()), strict=True)),
    )


def evaluate(
    task: Task,
    policy: Policy,
    kl_coef: float,
    gamma: float = 1.0,
    *,
    prompt_index: int | None = None,
) -> Evaluation:
    """Compute what a policy is worth, by enumeration.

    Args:
        task: a task with at most a million responses.
        policy: ``f(prefix) -> V probabilities``, a mapping from prefixes to them, a causal
            language model, or any agent that satisfies `TokenProbabilities`.
        kl_coef: beta >= 0.
        gamma: discount per token, in [0, 1].
        prompt_index: which of the task's prompts; needed if it has several.

    Raises:
        ValueError: if the task is too large, a number is out of range, the prompt is not told, or
            the policy does not answer with probabilities.
        TypeError: if the policy is none of the kinds above.
    """
    _check_coefficients(kl_coef, gamma)
    tree = enumerate_task(task, prompt_index)
    ref_logprobs = model_logprobs(tree, task.reference)
    logprobs = _policy_logprobs(tree, policy)
    penalties = kl_coef * _state_kl(logprobs, ref_logprobs) if kl_coef > 0 else None
    values = _expected(tree, logprobs, tree.scores, gamma=gamma, penalties=penalties)
    return Evaluation(
        objective=float(values[0]),
        reward=_expected_reward(tree, logprobs),
        kl=_expected_kl(tree, logprobs, ref_logprobs),
        values=dict(zip(tree.states, values.tolist(), strict=True)),
    )


def _policy_logprobs(tree: EnumeratedTask, policy: Policy) -> Array:
    if isinstance(policy, TokenProbabilities):
        return agent_logprobs(tree, policy)
    if isinstance(policy, nn.Module):
        return model_logprobs(tree, policy)
    if isinstance(policy, Mapping):
        return function_logprobs(tree, policy.__getitem__)
    if callable(policy):
        return function_logprobs(tree, policy)
    raise TypeError(
        "policy must be a function of the prefix, a mapping, a language model or an object with "
        f"token_probabilities(tokens, lengths), got {type(policy).__name__}"
    )


def _back_up(
    tree: EnumeratedTask, scores: Array, gamma: float, value: Callable[[slice, Array], Array]
) -> Array:
    """Return the values [S] of all states, from the last level of the tree to the root.

    Args:
        tree: what is enumerated.
        scores: [R] what finishing pays, in the order of ``tree.responses``.
        gamma: discount per token.
        value: ``f(states, q [n, V]) -> [n]``, the value of some states given that of each token.
    """
    values = np.empty(tree.num_states)
    following = scores[tree.num_states :]
    for states in reversed(tree.levels):
        q = np.empty((states.stop - states.start, tree.vocab_size))
        q[:, tree.eos_id] = scores[states]
        q[:, tree.continuing] = following.reshape(len(q), -1)
        values[states] = value(states, q)
        following = gamma * values[states]
    return values


def _softmax_optimum(q: Array, ref_logprobs: Array, kl_coef: float) -> tuple[Array, Array]:
    tilted = ref_logprobs + q / kl_coef
    log_total = np.logaddexp.reduce(tilted, axis=1)
    return kl_coef * log_total, tilted - log_total[:, None]


def _greedy_optimum(q: Array, ref_logprobs: Array, kl_coef: float) -> tuple[Array, Array]:
    allowed = np.where(np.isneginf(ref_logprobs), -np.inf, q)
    best = allowed.max(axis=1)
    shares = np.where(allowed == best[:, None], ref_logprobs, -np.inf)
    return best, shares - np.logaddexp.reduce(shares, axis=1, keepdims=True)


def _expected(
    tree: EnumeratedTask,
    logprobs: Array,
    scores: Array,
    *,
    gamma: float,
    penalties: Array | None = None,
) -> Array:
    """Return [S] E[discounted score − discounted penalties] from each state under a policy."""
    probabilities = np.exp(logprobs)

    def mean(states: slice, q: Array) -> Array:
        chosen = probabilities[states]
        # A token of probability 0 may lead to states that cost infinitely much.
        expected = np.where(chosen > 0, q, 0.0)
        paid = 0.0 if penalties is None else penalties[states]
        return np.einsum("sv,sv->s", chosen, expected) - paid

    return _back_up(tree, scores, gamma, mean)


def _expected_reward(tree: EnumeratedTask, logprobs: Array) -> float:
    return float(_expected(tree, logprobs, tree.scores, gamma=1.0)[0])


def _expected_kl(tree: EnumeratedTask, logprobs: Array, ref_logprobs: Array) -> float:
    costs = -_state_kl(logprobs, ref_logprobs)
    nothing = np.zeros_like(tree.scores)
    return float(_expected(tree, logprobs, nothing, gamma=1.0, penalties=costs)[0])


def _state_kl(logprobs: Array, ref_logprobs: Array) -> Array:
    """Return [S] KL(pi(.|s) || pi_ref(.|s)), inf where pi allows what the reference forbids."""
    allowed = ~np.isneginf(logprobs)
    difference = np.subtract(logprobs, ref_logprobs, out=np.zeros_like(logprobs), where=allowed)
    return np.einsum("sv,sv->s", np.exp(logprobs), difference)


def _check_coefficients(kl_coef: float, gamma: float) -> None:
    if not (math.isfinite(kl_coef) and kl_coef >= 0):
        raise ValueError(f"kl_coef must be a finite number of at least 0, got {kl_coef}")
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must be in [0, 1], got {gamma}")
