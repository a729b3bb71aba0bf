"""Exact answers: the optimal policy of a task, and the value of any policy.

Tasks whose score and reference are functions of a state are solved by dynamic programming at any
horizon (`rlhf_env.exact.by_state`); all others, and policies that see the whole prefix, by
enumeration. Conversations are enumerated with chance nodes, V(h) = beta log Σ_a pi_ref(a|h)
exp((r(h, a) + gamma E_o V(h, a, o)) / beta), where o is what the environment says; a prefix is then
all that was said since the prompt.

The return of an episode is Σ_t gamma^t (r_t − beta · KL_t): r_t is the response's score at the step
that ends it and 0 before, and KL_t = KL(pi(.|s_t) || pi_ref(.|s_t)). A response that reaches the
horizon without EOS is finished and scored like any other. All arithmetic is in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rlhf_env.exact.bellman import check_coefficients, expected, optimum, state_kl
from rlhf_env.exact.by_state import (
    StateProblem,
    evaluate_by_state,
    solve_by_state,
    state_problem,
    state_rows,
)
from rlhf_env.exact.dialogue_tree import enumerate_dialogue
from rlhf_env.exact.discounts import token_discounts
from rlhf_env.exact.enumerated import (
    TokenProbabilities,
    agent_logprobs,
    enumerate_task,
    function_logprobs,
    model_logprobs,
)
from rlhf_env.exact.prompt import check_is_task
from rlhf_env.exact.response_tree import check_enumerable
from rlhf_env.exact.state_tree import StateTree
from rlhf_env.task import Task

__all__ = ["Evaluation", "Prefix", "Solution", "TokenProbabilities", "evaluate", "solve"]

Prefix = tuple[int, ...]
Array = NDArray[np.float64]
Policy = (
    Callable[[Prefix], Sequence[float]]
    | Mapping[Prefix, Sequence[float]]
    | nn.Module
    | TokenProbabilities
    | Array
    | Tensor
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The exact value of a policy."""

    objective: float
    """E[Σ_t gamma^t (r_t − beta · KL_t)], reward and KL both discounted."""
    reward: float
    """E[score of the response], not discounted."""
    kl: float
    """KL of the distributions of whole responses in nats, not discounted."""
    values: Mapping[Prefix, float]
    """Prefix -> expected return from that prefix on, discounted from there."""


@dataclass(frozen=True, kw_only=True)
class Solution(Evaluation):
    """The optimal policy and its value."""

    policy: Mapping[Prefix, tuple[float, ...]]
    """Prefix -> probabilities of the V next tokens."""


def solve(
    task: Task,
    kl_coef: float,
    gamma: float = 1.0,
    *,
    discount_unit: str = "decision",
    prompt_index: int | None = None,
) -> Solution:
    """Compute the policy that maximizes the KL-regularized return, by soft Bellman recursion.

    V(s) = beta log Σ_a pi_ref(a|s) exp(Q(s,a)/beta) and pi*(a|s) = pi_ref(a|s) exp((Q − V)/beta);
    Q of a token that ends the response is its score, of another gamma · V(next). At gamma = 1
    that is pi* ∝ pi_ref exp(score/beta) over whole responses. With beta = 0 the optimum is greedy,
    and tokens that tie share by their reference probabilities.

    Args:
        task: an automaton task of any horizon, or a task with at most a million responses.
        kl_coef: beta >= 0.
        gamma: discount, in [0, 1].
        discount_unit: what ``gamma`` is per: "decision", each token; or "turn", each turn of a
            conversation or line of a response.
        prompt_index: which of the task's prompts; needed if it has several.

    Returns:
        Values and policy by prefix; those of an automaton task are computed on access.

    Raises:
        ValueError: if the task is too large, a number is out of range, or the prompt is not given.
        TypeError: if it is no `rlhf_env.Task`; a name is loaded by `rlhf_env.load_task`.
    """
    check_is_task(task)
    check_coefficients(kl_coef, gamma)
    discounts = token_discounts(task, gamma, discount_unit)
    if (problem := state_problem(task, prompt_index)) is not None:
        return _solution_by_state(problem, kl_coef, gamma)
    tree = _tree(task, prompt_index)
    ref_logprobs = model_logprobs(tree, task.reference)
    logprobs = np.empty_like(ref_logprobs)

    def best(states: slice, q: Array) -> Array:
        values, logprobs[states] = optimum(q, ref_logprobs[states], kl_coef)
        return values

    values = _back_up(tree, tree.scores, discounts, best)
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
    discount_unit: str = "decision",
    prompt_index: int | None = None,
) -> Evaluation:
    """Compute the exact value of a policy.

    Args:
        task: a task with at most a million responses; an automaton task of any horizon, if the
            policy is a function of time and state.
        policy: ``f(prefix) -> V probabilities``, a mapping from prefixes to them, a causal
            language model, or any agent that satisfies `TokenProbabilities`; for an automaton
            task also the probabilities as an array [S, V] or [T, S, V]. What `solve` found, a
            model of automaton states and an array are functions of time and state.
        kl_coef: beta >= 0.
        gamma: discount, in [0, 1].
        discount_unit: what ``gamma`` is per: "decision", each token; or "turn", each turn of a
            conversation or line of a response.
        prompt_index: which of the task's prompts; needed if it has several.

    Raises:
        ValueError: if the task is too large, a number is out of range, the prompt is not given, or
            the policy does not answer with probabilities.
        TypeError: if the task is no `rlhf_env.Task`, or the policy none of the kinds above.
    """
    check_is_task(task)
    check_coefficients(kl_coef, gamma)
    discounts = token_discounts(task, gamma, discount_unit)
    if (problem := state_problem(task, prompt_index)) is not None:
        if (rows := state_rows(problem, policy)) is not None:
            values, reward, kl = evaluate_by_state(problem, rows, kl_coef, gamma)
            return Evaluation(objective=values[()], reward=reward, kl=kl, values=values)
        _check_prefix_policy(task)
    tree = _tree(task, prompt_index)
    ref_logprobs = model_logprobs(tree, task.reference)
    logprobs = policy_logprobs(tree, policy)
    penalties = kl_coef * state_kl(logprobs, ref_logprobs) if kl_coef > 0 else None
    values = _expected(tree, logprobs, tree.scores, gamma=discounts, penalties=penalties)
    return Evaluation(
        objective=float(values[0]),
        reward=_expected_reward(tree, logprobs),
        kl=_expected_kl(tree, logprobs, ref_logprobs),
        values=dict(zip(tree.states, values.tolist(), strict=True)),
    )


def _solution_by_state(problem: StateProblem, kl_coef: float, gamma: float) -> Solution:
    values, policy = solve_by_state(problem, kl_coef, gamma)
    _, reward, kl = evaluate_by_state(problem, policy.logprobs, kl_coef, gamma)
    return Solution(objective=values[()], reward=reward, kl=kl, values=values, policy=policy)


def _check_prefix_policy(task: Task) -> None:
    try:
        check_enumerable(task.vocab_size, task.max_new_tokens)
    except ValueError as error:
        raise ValueError(
            f"this policy may depend on the whole prefix, and {error}; or estimate how far it is "
            "from the optimum on its own episodes, by rlhf_env.exact.regret"
        ) from None


def policy_logprobs(tree: StateTree, policy: Policy) -> Array:
    """Return [S, V] log-probabilities of the next token in every state, by any kind of policy.

    Raises:
        ValueError: if the policy does not answer with probabilities.
        TypeError: if it is none of the kinds that `evaluate` takes.
    """
    if isinstance(policy, TokenProbabilities):
        return agent_logprobs(tree, policy)
    if isinstance(policy, nn.Module):
        return model_logprobs(tree, policy)
    if isinstance(policy, Mapping):
        return function_logprobs(tree, lambda prefix: _looked_up(policy, prefix))
    if callable(policy):
        return function_logprobs(tree, policy)
    raise TypeError(
        "policy must be a function of the prefix, a mapping, a language model or an object with "
        f"token_probabilities(tokens, lengths), got {type(policy).__name__}"
    )


def _tree(task: Task, prompt_index: int | None) -> StateTree:
    if task.respond is None:
        return enumerate_task(task, prompt_index)
    return enumerate_dialogue(task, prompt_index)


def _back_up(
    tree: StateTree, scores: Array, gamma: Array, value: Callable[[slice, Array], Array]
) -> Array:
    """Return the values [S] of all states, from the last level of the tree to the root.

    Args:
        tree: what is enumerated.
        scores: what finishing pays, in the order of ``tree.scores``.
        gamma: [V] discount of what follows each token.
        value: ``f(states, q [n, V]) -> [n]``, the value of some states given that of each token.
    """
    values = np.empty(tree.num_states)
    for level, states in reversed(list(enumerate(tree.levels))):
        values[states] = value(states, tree.action_values(level, scores, values, gamma))
    return values


def _expected(
    tree: StateTree,
    logprobs: Array,
    scores: Array,
    *,
    gamma: Array | None = None,
    penalties: Array | None = None,
) -> Array:
    """Return [S] E[discounted score − discounted penalties] from each state under a policy."""
    probabilities = np.exp(logprobs)

    def mean(states: slice, q: Array) -> Array:
        paid = 0.0 if penalties is None else penalties[states]
        return expected(probabilities[states], q) - paid

    undiscounted = np.ones(tree.vocab_size) if gamma is None else gamma
    return _back_up(tree, scores, undiscounted, mean)


def _expected_reward(tree: StateTree, logprobs: Array) -> float:
    return float(_expected(tree, logprobs, tree.scores)[0])


def _expected_kl(tree: StateTree, logprobs: Array, ref_logprobs: Array) -> float:
    costs = -state_kl(logprobs, ref_logprobs)
    nothing = np.zeros_like(tree.scores)
    return float(_expected(tree, logprobs, nothing, penalties=costs)[0])


def _looked_up(policy: Mapping[Prefix, Sequence[float]], prefix: Prefix) -> Sequence[float]:
    try:
        return policy[prefix]
    except KeyError as error:
        raise ValueError(
            f"policy must hold the probabilities after every prefix, got none for {prefix}"
        ) from error
