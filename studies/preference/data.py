"""Comparisons of the reference's responses, and a reward fitted to them, on an enumerated task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents import ResponseGroup
from agents.preference.labels import sampled_wins
from rlhf_env import Task, load_task
from rlhf_env.exact.enumerated import enumerate_task, model_logprobs
from rlhf_env.rewards.bradley_terry import bradley_terry_loss

Ids = tuple[int, ...]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Responses:
    """Every response of the task."""

    task: Task
    """One prompt; its reward is the truth."""
    ids: list[Ids]
    """R responses."""
    scores: NDArray[np.float64]
    """[R] their true scores."""
    mass: NDArray[np.float64]
    """[R] their probabilities under the reference."""


class TableReward:
    """A score for every response, looked up."""

    def __init__(self, table: dict[Ids, float]) -> None:
        """Take the scores."""
        self.table = table

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the scores of responses, [B]."""
        return torch.tensor([self.table[tuple(ids.tolist())] for ids in responses])


@cache
def all_responses() -> Responses:
    """Return the responses of "toy15", enumerated once per process."""
    task = load_task("toy15")
    tree = enumerate_task(task, None)
    ids = [(*state, tree.eos_id) for state in tree.states]
    ids += [tuple(row) for row in tree.tokens[-1].tolist()]
    logprobs, number = (
        model_logprobs(tree, task.reference),
        {s: i for i, s in enumerate(tree.states)},
    )
    mass = [
        np.exp(sum(logprobs[number[row[:t]], token] for t, token in enumerate(row))) for row in ids
    ]
    return Responses(task=task, ids=ids, scores=tree.scores, mass=np.array(mass))


def draw_pairs(count: int, seed: int) -> Numbers:
    """Draw pairs of different responses of the reference, labeled by Bradley-Terry.

    Returns:
        [count, 2] numbers of responses, the better one first.
    """
    known, chance = all_responses(), np.random.default_rng([seed, count])
    law = known.mass / known.mass.sum()
    drawn = chance.choice(len(law), size=(4 * count + 64, 2), p=law)
    drawn = drawn[drawn[:, 0] != drawn[:, 1]][:count]
    ahead = known.scores[drawn[:, 0]] - known.scores[drawn[:, 1]]
    is_won = sampled_wins(torch.from_numpy(ahead), chance).numpy()
    return np.where(is_won[:, None], drawn, drawn[:, ::-1])


def as_groups(pairs: Numbers) -> list[ResponseGroup]:
    """Return pairs as an agent takes them."""
    known = all_responses()
    prompt = known.task.prompts[0]
    return [ResponseGroup.pair(prompt, known.ids[a], known.ids[b]) for a, b in pairs.tolist()]


def fitted_reward(pairs: Numbers, ridge: float) -> TableReward:
    """Return the scores that make comparisons likeliest, by Bradley-Terry with a ridge."""
    known = all_responses()
    better, worse = torch.from_numpy(np.ascontiguousarray(pairs.T))
    scores = torch.zeros(len(known.ids), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [scores], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = bradley_terry_loss(scores[better], scores[worse]) + ridge * scores.square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return TableReward(dict(zip(known.ids, scores.tolist(), strict=True)))
