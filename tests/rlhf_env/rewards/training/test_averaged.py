"""Weight averaging on weights that can be averaged by hand."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.averaged import averaged_weights


def model(seed: int, width: int = 8) -> ScalarRewardModel:
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ScalarRewardModel(LlamaModel(config))
        torch.nn.init.normal_(made.head.weight)
    return made


def test_weights_and_scale_are_means_and_members_stay() -> None:
    first, second = model(0), model(1)
    with torch.no_grad():
        first.head.weight.fill_(1.0)
        second.head.weight.fill_(4.0)
        second.sd.fill_(3.0)
    found = averaged_weights([first, second])
    assert found.head.weight.tolist() == [[2.5] * 8]
    assert found.sd.item() == 2.0
    assert first.head.weight.tolist() == [[1.0] * 8]


def test_members_with_one_trunk_score_their_mean() -> None:
    """With one trunk the score is linear in the head, so both kinds of mean agree."""
    first, second = model(0), model(0)
    with torch.no_grad():
        second.head.weight.neg_().add_(0.5)
    prompts, responses = [torch.tensor([1])] * 2, [torch.tensor([2, 0]), torch.tensor([3, 4, 1])]
    mean = (first(prompts, responses) + second(prompts, responses)) / 2
    assert torch.allclose(averaged_weights([first, second])(prompts, responses), mean, atol=1e-6)


def test_one_member_is_itself() -> None:
    only = model(3)
    prompts, responses = [torch.tensor([1])], [torch.tensor([2, 0])]
    assert torch.equal(averaged_weights([only])(prompts, responses), only(prompts, responses))


def test_what_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        averaged_weights([])
    with pytest.raises(ValueError, match=r"same names and shapes.*of members 0 and 1"):
        averaged_weights([model(0), model(0, width=16)])
