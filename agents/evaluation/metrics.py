"""Metrics of a policy, computed from a rollout."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from agents.rollouts.decisions import sum_per_decision
from rlhf_env.rewards.protocol import score
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


@runtime_checkable
class MeasuresDisagreement(Protocol):
    """A reward of several members, such as `rlhf_env.rewards.Ensemble`."""

    def disagreement(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the deviation over the members, [B]."""
        ...


def rollout_metrics(rollout: Rollout, task: Task) -> dict[str, float]:
    """Return the means over a rollout's episodes.

    Args:
        rollout: B episodes.
        task: its gold reward, if it has one, is computed too.

    Returns:
        ``score`` and ``gold`` (reward models' units), ``kl`` (nats per sequence, k1),
        ``kl_k3`` (the same by the estimator that is never negative, of each decision),
        ``return`` (undiscounted),
        ``response_length`` (tokens) and ``eos_rate``; where the reward is an ensemble, its
        ``disagreement``, the deviation over its members.
    """
    found = {name: float(values.mean()) for name, values in _by_episode(rollout, task).items()}
    return {"score": found.pop("score"), "kl": mean_kl(rollout, "sequence"), **found}


def metrics_by_run(rollout: Rollout, task: Task, runs: int) -> dict[str, Tensor]:
    """Return the same for each of R runs, [R] float64, whose episodes are blocks of one size."""

    def mean(values: Tensor) -> Tensor:
        return values.view(runs, -1).mean(dim=1).double()

    found = {name: mean(values) for name, values in _by_episode(rollout, task).items()}
    kl = mean(rollout.log_ratio.sum(dim=1))
    return {"score": found.pop("score"), "kl": kl, **found}


def _by_episode(rollout: Rollout, task: Task) -> dict[str, Tensor]:
    """Return the figures of each episode, [B] each; the KL's k1 is left to the caller."""
    # Per decision: stepping knows the reference's log-probability of a macro action as a whole.
    by_decision = sum_per_decision(rollout.log_ratio, rollout)
    k3 = torch.expm1(-by_decision) + by_decision
    last_tokens = rollout.tokens[rollout.last_action]
    figures = {
        "score": rollout.score,
        "kl_k3": k3.sum(1),
        "return": rollout.rewards.sum(1),
        "response_length": rollout.response_lengths.float(),
        "eos_rate": (last_tokens == task.eos_id).float(),
    }
    if isinstance(task.reward, MeasuresDisagreement):
        asked = rollout.prompts(), rollout.responses()
        figures["disagreement"] = task.reward.disagreement(*asked)
    if task.gold is not None:
        figures["gold"] = score(task.gold, rollout.prompts(), rollout.responses())
    return figures


def mean_kl(rollout: Rollout, unit: str) -> float:
    """Return the mean log-ratio of policy and reference, k1, in nats.

    Args:
        rollout: B episodes.
        unit: per "sequence" or per "token".
    """
    count = rollout.is_action.sum() if unit == "token" else len(rollout)
    return float(rollout.log_ratio.sum() / count)


def distinct_ngrams(rollout: Rollout, n: int) -> float:
    """Return the share of distinct n-grams among all of the responses, in [0, 1].

    1 means that no n-gram occurs twice (arXiv:1510.03055); 0 where no response is that long.
    """
    grams = [
        tuple(ids[i : i + n])
        for ids in (response.tolist() for response in rollout.responses())
        for i in range(len(ids) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0
