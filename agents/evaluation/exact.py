"""The distance of a policy from the exact optimum, on tasks whose optimum is known."""

from __future__ import annotations

import torch

from agents.policy import Policy
from rlhf_env.conversation import KnownRespond
from rlhf_env.exact import regret, solve
from rlhf_env.exact.automaton import automaton_of
from rlhf_env.exact.response_tree import num_responses
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task

# Enumerating takes milliseconds up to here.
_FEW_RESPONSES = 4096


def exact_metrics(rollout: Rollout, task: Task, policy: Policy, kl_coef: float) -> dict[str, float]:
    """Return ``regret`` (J* − J) and ``j_ratio`` (J / J*), estimated on episodes of a policy.

    J is the mean score minus beta times the KL to the reference, undiscounted. The result is empty
    where J* is not known: for tasks that are neither automata nor small, without a KL penalty, and
    at temperatures other than 1, which change the reference too. ``j_ratio`` is left out where J*
    is not positive.

    Args:
        rollout: B episodes that the policy drew; responses that reach the horizon are scored.
        task: defines the optimum.
        policy: its distributions are compared with the optimal ones.
        kl_coef: beta.
    """
    if kl_coef <= 0 or policy.temperature != 1.0 or not _is_solvable(task):
        return {}
    found, error = regret(task, rollout, policy, kl_coef)
    metrics = {"regret": found, "regret_se": error}
    best = _optimum(rollout, task, kl_coef)
    return metrics | ({"j_ratio": 1.0 - found / best} if best > 0 else {})


def _is_solvable(task: Task) -> bool:
    if automaton_of(task) is not None:
        return True
    if task.respond is not None and not isinstance(task.respond, KnownRespond):
        return False
    # Counting the responses of a real vocabulary would itself be slow.
    is_short = task.max_new_tokens <= 12
    return is_short and num_responses(task.vocab_size, task.max_new_tokens) <= _FEW_RESPONSES


def _optimum(rollout: Rollout, task: Task, kl_coef: float) -> float:
    """Return the mean J* of the prompts of some episodes."""
    total = 0.0
    for index, prompt in enumerate(task.prompts):
        share = sum(torch.equal(prompt, asked) for asked in rollout.prompts()) / len(rollout)
        total += share * solve(task, kl_coef, prompt_index=index).objective if share else 0.0
    return total
