"""Best-of-n: proxy and gold score of the best of n by a judge, as n grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from agents.algorithms.best_of_n_estimators import best_of_n_kl_bound, best_of_n_mean
from rlhf_env import Task
from rlhf_env.rewards.protocol import Reward
from rlhf_env.tasks.reviews.comparisons import sample_for
from studies.overoptimization.proxies import POOL, generator
from studies.overoptimization.settings import Sampling
from studies.statistics.gao import BEST_OF_N

Row = dict[str, str | float]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Responses of the reference to P prompts, N to each."""

    prompts: list[Tensor]
    """P·N prompts, those of one row after another."""
    responses: list[Tensor]
    """P·N responses."""
    gold: Tensor
    """[P, N] their gold scores, mean 0 and spread 1 over all of them."""


def sample_pool(task: Task, sampling: Sampling, seed: int) -> Pool:
    """Draw held-out prompts and the reference's responses to them."""
    assert task.gold is not None and task.eval_prompts is not None
    model, chance = cast(LlamaForCausalLM, task.reference), generator(seed, POOL)
    order = torch.randperm(len(task.eval_prompts), generator=chance)
    chosen = [task.eval_prompts[index] for index in order[: sampling.prompts].tolist()]
    prompts: list[Tensor] = []
    responses: list[Tensor] = []
    for prompt in chosen:
        asked, said = sample_for(model, [prompt], sampling.pool, task.max_new_tokens, chance)
        prompts += asked
        responses += said
    scores = task.gold(prompts, responses).reshape(len(chosen), -1)
    return Pool(prompts=prompts, responses=responses, gold=standardized(scores))


def standardized(scores: Tensor) -> Tensor:
    """Return scores in units in which they have mean 0 and spread 1, float64."""
    scores = scores.double()
    return (scores - scores.mean()) / scores.std(correction=0)


def best_of_n_rows(judge: Reward, pool: Pool) -> list[Row]:
    """Return one row per n = 1, 2, 4 … up to half of the responses to a prompt.

    Args:
        judge: chooses.
        pool: what it chooses from; its own scores are standardised over it.

    Returns:
        ``method``, ``step`` (n), ``kl`` (the bound, nats), ``proxy`` and ``gold`` (means over
        prompts).
    """
    proxy = standardized(judge(pool.prompts, pool.responses).reshape(pool.gold.shape))
    rows: list[Row] = []
    for n in (2**k for k in range(pool.gold.shape[1].bit_length() - 1)):
        earned = [
            torch.stack([best_of_n_mean(*row, n) for row in zip(proxy, values, strict=True)])
            for values in (proxy, pool.gold)
        ]
        chosen_by, truth = (float(values.mean()) for values in earned)
        kl = best_of_n_kl_bound(n)
        rows.append(
            {"method": BEST_OF_N.name, "step": n, "kl": kl, "proxy": chosen_by, "gold": truth}
        )
    return rows


def ordering_accuracy(judge: Reward, pool: Pool) -> float:
    """Return how many pairs of responses to one prompt a judge orders as gold does.

    The first half of each prompt's responses is compared with the second; gold ties do not count.
    """
    proxy = judge(pool.prompts, pool.responses).double().reshape(pool.gold.shape)
    half = pool.gold.shape[1] // 2
    by_gold, by_proxy = (
        values[:, :half] - values[:, half : 2 * half] for values in (pool.gold, proxy)
    )
    return float((by_gold * by_proxy > 0)[by_gold != 0].double().mean())
