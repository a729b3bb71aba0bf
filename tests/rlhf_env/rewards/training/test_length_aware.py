"""The loss of two heads on literal scores, and what the heads learn where length is preferred."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.elements import Element, collate
from rlhf_env.rewards.training.fit import fit
from rlhf_env.rewards.training.length_aware import (
    LengthAwareModel,
    LengthAwareObjective,
    correlation,
)
from rlhf_env.rewards.training.pair_objectives import PairObjective, PairTarget
from rlhf_env.rewards.training.settings import RewardSettings


def trunk() -> LlamaModel:
    config = LlamaConfig(
        vocab_size=4,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaModel(config)


def pair(better: list[int], worse: list[int]) -> Element[PairTarget]:
    target = PairTarget(
        first=torch.tensor([0]),
        second=torch.tensor([1]),
        votes=torch.tensor([[1.0, 0.0, 0.0]]),
        margins=torch.zeros(1),
    )
    prompt = torch.tensor([3])
    responses = (torch.tensor(better), torch.tensor(worse))
    return Element(prompts=(prompt, prompt), responses=responses, target=target)


def test_correlation_of_literals() -> None:
    # numpy.corrcoef([1, 2, 4], [3, 1, 2]) has -0.3273268353539886 off the diagonal.
    found = correlation(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 1.0, 2.0]))
    assert found.item() == pytest.approx(-0.3273268353539886)
    assert correlation(torch.ones(3), torch.tensor([3.0, 1.0, 2.0])).item() == 0.0


def test_the_loss_on_literal_scores() -> None:
    model = LengthAwareModel(ScalarRewardModel(trunk()), generator=torch.Generator())
    with torch.no_grad():
        model.model.head.weight.zero_()[0, 0] = 3.0
        model.length_head.weight.zero_()[0, :2] = 1.0
    elements = [pair([1, 1, 0], [2]), pair([1], [2, 0])]
    batch = collate(elements, torch.device("cpu"))
    quality, length = torch.tensor([2.0, 0.0, 1.0, 1.0]), torch.tensor([0.5, -0.5, 0.0, 1.0])
    at_end = torch.stack([quality, length], dim=-1)
    scores: Tensor = at_end[:, None, :].expand(-1, batch.input_ids.shape[1], -1)
    found = LengthAwareObjective(model, length_coef=2.0, orthogonal_coef=0.5).losses(
        scores, batch, elements
    )
    # Lengths 3, 1, 1, 2; numpy.corrcoef gives 0.8528029 with the qualities and 0.6741999 with the
    # length scores. The heads' cosine is 1/sqrt(2).
    apart = 2.0 * (0.8528028654224418 - 0.674199862463242) + 0.5 / math.sqrt(2)
    ranking = [math.log1p(math.exp(-3.0)), math.log1p(math.exp(1.0))]
    assert found.tolist() == pytest.approx([apart + one for one in ranking], rel=1e-5)


def test_quality_forgets_length_where_a_single_head_learns_it() -> None:
    """The longer response is always preferred, and token 1 at equal length."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(160):
        tokens = torch.randint(1, 3, (2, 6), generator=generator)
        counts = (1 + torch.randperm(6, generator=generator)[:2]).tolist()
        a, b = tokens[0, : counts[0]].tolist(), tokens[1, : counts[1]].tolist()
        value = [sum(t == 1 for t in one) / len(one) + 0.5 * len(one) for one in (a, b)]
        rows.append(pair(a, b) if value[0] > value[1] else pair(b, a))
    settings = RewardSettings(epochs=12, learning_rate=1e-2, evaluations_per_epoch=1, device="cpu")
    single = ScalarRewardModel(trunk())
    fit(single, PairObjective(), rows[32:], rows[:32], settings, generator)
    both = LengthAwareModel(ScalarRewardModel(trunk()), generator=generator)
    fit(both, LengthAwareObjective(both), rows[32:], rows[:32], settings, generator)

    responses = [response for element in rows for response in element.responses]
    prompts = [torch.tensor([3])] * len(responses)
    lengths = torch.tensor([float(len(response)) for response in responses])
    by_single = correlation(single(prompts, responses).detach(), lengths).item()
    by_quality = correlation(both.quality()(prompts, responses).detach(), lengths).item()
    assert by_single > 0.8
    assert abs(by_quality) < 0.4
