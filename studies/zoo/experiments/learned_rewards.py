"""Claims about learned rewards: fitted to noisy comparisons, then optimized exactly.

The task has 1,093 responses of up to six of three tokens, so nothing but the reward is learned: the
policy is the exact optimum of the learned score less beta times the KL, and what it is worth is its
exact gold score.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from rlhf_env.exact import evaluate, solve
from rlhf_env.exact.enumerated import enumerate_task, model_logprobs
from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.protocol import Reward
from rlhf_env.rewards.training.elements import Element
from rlhf_env.rewards.training.pair_objectives import PairTarget
from rlhf_env.rewards.training.settings import RewardSettings
from rlhf_env.task import Task
from rlhf_env.tasks.table import table_task

_HORIZON, _VOCABULARY = 6, 4
_WIDTH = 16
SETTINGS = RewardSettings(epochs=15, learning_rate=5e-3, evaluations_per_epoch=1, device="cpu")
HELD_OUT = 0.2

Ids = tuple[int, ...]
Gold = Callable[[Ids], float]


@dataclass(frozen=True, kw_only=True)
class Responses:
    """All responses of the task."""

    task: Task
    ids: list[Ids]
    law: np.ndarray
    """[R] their probabilities under the reference."""


def gold(ids: Ids) -> float:
    """Return the true score: 1 for each token 1 after a token 2, less 0.5 for each token 3."""
    found = sum(1.0 for a, b in itertools.pairwise(ids) if (a, b) == (2, 1))
    return found - 0.5 * ids.count(3)


@cache
def all_responses() -> Responses:
    """Return the responses, enumerated once per process; the reference stops with 1 in 5."""
    task = table_task(
        _VOCABULARY, _HORIZON, lambda prefix: [0.0, 0.3, 0.2, 0.1], gold, name="tokens-6"
    )
    tree = enumerate_task(task, None)
    ids = [(*state, tree.eos_id) for state in tree.states]
    ids += [tuple(row) for row in tree.tokens[-1].tolist()]
    logprobs = model_logprobs(tree, task.reference)
    place = {state: number for number, state in enumerate(tree.states)}
    law = [
        np.exp(sum(logprobs[place[row[:t]], token] for t, token in enumerate(row))) for row in ids
    ]
    return Responses(task=task, ids=ids, law=np.array(law))


def comparisons(count: int, seed: int, judged: Gold) -> list[Element[PairTarget]]:
    """Draw pairs of the reference's responses, and who wins by Bradley-Terry.

    Args:
        count: pairs.
        seed: of responses and winners.
        judged: what the annotator takes for the score.
    """
    known, chance = all_responses(), np.random.default_rng([seed, count])
    drawn = chance.choice(len(known.ids), size=(count, 2), p=known.law / known.law.sum())
    found = []
    for a, b in drawn.tolist():
        ahead = judged(known.ids[a]) - judged(known.ids[b])
        is_won = chance.random() < 1 / (1 + np.exp(-ahead))
        better, worse = (a, b) if is_won else (b, a)
        found.append(_pair(known.ids[better], known.ids[worse]))
    return found


def fresh_model(trunk_seed: int, head_seed: int) -> ScalarRewardModel:
    """Return a small transformer; models of one trunk seed differ in their heads only."""
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=_HORIZON + 1,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trunk_seed)
        model = ScalarRewardModel(LlamaModel(config))
        torch.manual_seed(head_seed)
        torch.nn.init.normal_(model.head.weight, std=(_WIDTH + 1) ** -0.5)
    return model


def optimized(reward: Reward, kl_coef: float) -> dict[str, float]:
    """Return what the exact optimum of a reward is worth.

    Args:
        reward: is scaled to standard deviation 1 under the reference first, so that beta weighs
            the same for all.
        kl_coef: beta.

    Returns:
        ``gold`` and ``length`` of the optimal policy, expected, and its ``kl`` in nats.
    """
    known = all_responses()
    ids = [torch.tensor(row) for row in known.ids]
    with torch.no_grad():
        scores = reward([known.task.prompts[0]] * len(ids), ids).double().numpy()
    law = known.law / known.law.sum()
    mean = law @ scores
    scores = (scores - mean) / np.sqrt(law @ (scores - mean) ** 2)
    table = dict(zip(known.ids, scores.tolist(), strict=True))
    found = solve(with_score(table.__getitem__), kl_coef)
    return {
        "gold": evaluate(known.task, found.policy, 0.0).reward,
        "length": evaluate(with_score(lambda row: float(len(row))), found.policy, 0.0).reward,
        "kl": found.kl,
    }


def with_score(score: Gold) -> Task:
    """Return the task with another score of the tokens."""

    def reward(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        rows = [tuple(ids.tolist()) for ids in responses]
        return torch.tensor([score(row) for row in rows], dtype=torch.float64)

    return dataclasses.replace(all_responses().task, reward=reward)


def _pair(better: Ids, worse: Ids) -> Element[PairTarget]:
    prompt = all_responses().task.prompts[0]
    target = PairTarget(
        first=torch.tensor([0]),
        second=torch.tensor([1]),
        votes=torch.tensor([[1.0, 0.0, 0.0]]),
        margins=torch.zeros(1),
    )
    responses = (torch.tensor(better), torch.tensor(worse))
    return Element(prompts=(prompt, prompt), responses=responses, target=target)
