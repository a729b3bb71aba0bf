"""A small reward model, learned from comparisons of a task's own responses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.elements import Element
from rlhf_env.rewards.training.fit import fit
from rlhf_env.rewards.training.pair_objectives import PairObjective, PairTarget
from rlhf_env.rewards.training.settings import RewardSettings
from rlhf_env.rollout import Rollout

WIDTH = 32
SETTINGS = RewardSettings(epochs=20, learning_rate=3e-3, evaluations_per_epoch=1)
HELD_OUT_SHARE = 0.2


def learn_reward(rollout: Rollout, vocab_size: int, seed: int) -> tuple[ScalarRewardModel, float]:
    """Return a transformer that learned which response of a pair has the higher score.

    Args:
        rollout: 2 P responses; each of the first P is compared with one of the others, and pairs
            of equal scores are left out.
        vocab_size: V.
        seed: of the weights and the order.

    Returns:
        The model, and the share of held-out pairs that it ranks as they should be.

    Raises:
        ValueError: if fewer than ten pairs differ in their scores.
    """
    pairs = comparisons(rollout)
    if len(pairs) < 10:
        raise ValueError(
            f"pairs must differ in their scores at least 10 times to learn from, got {len(pairs)}; "
            "draw more"
        )
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=rollout.tokens.shape[1],
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ScalarRewardModel(LlamaModel(config))
    held_out = max(1, int(HELD_OUT_SHARE * len(pairs)))
    order = torch.Generator().manual_seed(seed)
    history = fit(model, PairObjective(), pairs[held_out:], pairs[:held_out], SETTINGS, order)
    assert history.best.accuracy is not None
    return model, history.best.accuracy


def comparisons(rollout: Rollout) -> list[Element[PairTarget]]:
    """Return each of the first half of some responses, compared with one of the second half."""
    prompts, responses, scores = rollout.prompts(), rollout.responses(), rollout.score.tolist()
    half = len(rollout) // 2
    sides = ((i, i + half) for i in range(half) if scores[i] != scores[i + half])
    ordered = ((i, j) if scores[i] > scores[j] else (j, i) for i, j in sides)
    return [_pair([prompts[i] for i in ij], [responses[i] for i in ij]) for ij in ordered]


def _pair(prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> Element[PairTarget]:
    won = PairTarget(
        first=torch.tensor([0]),
        second=torch.tensor([1]),
        votes=torch.tensor([[1.0, 0.0, 0.0]]),
        margins=torch.zeros(1),
    )
    return Element(prompts=tuple(prompts), responses=tuple(responses), target=won)
