"""The exact distribution of the best of n responses, on tasks small enough to enumerate.

Choosing keeps the proportions of responses with one score, so all that changes is how likely each
score is: P(best of n has score s) = F(s)^n − F(below s)^n, F being the distribution of one draw's
score. All arithmetic is in float64.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rlhf_env.checks import check_count, check_positive
from rlhf_env.exact.enumerated import EnumeratedTask, enumerate_task, model_logprobs
from rlhf_env.task import Task

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BestOfNEvaluation:
    """The expected scores of the best of n responses and its KL to the reference."""

    reward: float
    """E[score]."""
    kl: float
    """KL of its distribution to the reference's, in nats per response."""
    gold: float | None
    """E[gold score]; None for a task without gold reward."""
    policy: dict[tuple[int, ...], tuple[float, ...]]
    """Prefix -> probabilities of the V next tokens of the response that is chosen."""


def best_of_n(
    task: Task,
    n: int,
    *,
    policy: nn.Module | None = None,
    temperature: float = 1.0,
    prompt_index: int | None = None,
) -> BestOfNEvaluation:
    """Evaluate choosing the best of n independent responses by the task's reward.

    Of responses with the best score any is chosen, so these share by their probabilities.

    Args:
        task: a task with at most a million responses.
        n: responses to choose from, at least 1.
        policy: the causal language model that they come from; the reference when None.
        temperature: divides the logits of policy and reference.
        prompt_index: which of the task's prompts; needed if it has several.

    Raises:
        ValueError: if the task is too large, a number is out of range, or the prompt is not given.
    """
    check_count("n", n)
    check_positive("temperature", temperature)
    tree = enumerate_task(task, prompt_index)
    reference = _log_softmax(model_logprobs(tree, task.reference) / temperature)
    tokens = reference
    if policy is not None:
        tokens = _log_softmax(model_logprobs(tree, policy) / temperature)
    drawn = _response_logprobs(tree, tokens)
    chosen = drawn + _log_gain(tree.scores, drawn, n)
    probabilities = np.exp(chosen)
    log_ratio = np.zeros_like(chosen)
    np.subtract(chosen, _response_logprobs(tree, reference), out=log_ratio, where=probabilities > 0)
    gold = None
    if task.gold is not None:
        truth = enumerate_task(dataclasses.replace(task, reward=task.gold), prompt_index)
        gold = float(probabilities @ truth.scores)
    policy_rows = map(tuple, _token_probabilities(tree, chosen, tokens).tolist())
    return BestOfNEvaluation(
        reward=float(probabilities @ tree.scores),
        kl=float(probabilities @ log_ratio),
        gold=gold,
        policy=dict(zip(tree.states, policy_rows, strict=True)),
    )


def _log_softmax(logits: Array) -> Array:
    """Return [S, V] log-probabilities, from logits or from log-probabilities not yet normalized."""
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def _response_logprobs(tree: EnumeratedTask, logprobs: Array) -> Array:
    """Return [R] log-probabilities of the responses, from those of tokens [S, V]."""
    ended, reached = [], np.zeros(1)
    for states in tree.levels:
        ended.append(reached + logprobs[states, tree.eos_id])
        reached = (reached[:, None] + logprobs[states][:, tree.continuing]).ravel()
    return np.concatenate([*ended, reached])


def _log_gain(scores: Array, logprobs: Array, n: int) -> Array:
    """Return [R] the log of how much likelier each response is as the best of n than as one."""
    levels, level = np.unique(scores, return_inverse=True)
    share = np.bincount(level, weights=np.exp(logprobs), minlength=len(levels))
    totals = np.cumsum(share)
    share, up_to = share / totals[-1], totals / totals[-1]
    # F^n − (F − p)^n = F^n (1 − (1 − p/F)^n), which keeps its digits where p is small; the lowest
    # score has p = F, a score that no response can have p = 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = n * np.log1p(-np.minimum(share / up_to, 1.0))
        gain = n * np.log(up_to) + np.log(-np.expm1(kept)) - np.log(share)
    return np.where(share > 0, gain, 0.0)[level]


def _token_probabilities(tree: EnumeratedTask, responses: Array, tokens: Array) -> Array:
    """Return [S, V] probabilities of tokens, from log-probabilities of responses [R].

    Where no response leads, they are those of ``tokens`` [S, V], log-probabilities.
    """
    found = np.empty_like(tokens)
    following = responses[tree.num_states :]
    for states in reversed(tree.levels):
        mass = np.empty_like(tokens[states])
        mass[:, tree.eos_id] = responses[states]
        mass[:, tree.continuing] = following.reshape(len(mass), -1)
        following = np.logaddexp.reduce(mass, axis=1)
        is_reached = ~np.isneginf(following)[:, None]
        found[states] = tokens[states]
        np.subtract(mass, following[:, None], out=found[states], where=is_reached)
    return np.exp(found)
