from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from rlhf_env.rewards.bradley_terry import (
    ScalarRewardModel,
    bradley_terry_loss,
    padded,
    prefix_bradley_terry_loss,
)

LENGTHS = [(1, 0), (2, 7), (3, 1), (1, 12), (4, 4)]


def tiny_reward_model(seed: int = 0) -> ScalarRewardModel:
    generator = torch.Generator().manual_seed(seed)
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng(devices=[]):
        model = ScalarRewardModel(LlamaModel(config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model.eval()


@pytest.fixture
def rows() -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> Tensor:
        return torch.randint(0, 11, (length,), generator=generator)

    return [draw(prompt) for prompt, _ in LENGTHS], [draw(response) for _, response in LENGTHS]


def test_the_loss_of_one_pair() -> None:
    chosen, rejected = torch.tensor([1.0]), torch.tensor([0.2])
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(0.371101, abs=1e-6)
    with_margin = bradley_terry_loss(chosen, rejected, margin=0.5)
    assert with_margin.item() == pytest.approx(0.554355, abs=1e-6)
    centered = bradley_terry_loss(chosen, rejected, centering_coef=0.01)
    assert centered.item() == pytest.approx(0.385501, abs=1e-6)


def test_only_differences_count() -> None:
    chosen, rejected = torch.tensor([1.0, 0.3]), torch.tensor([0.2, -0.2])
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(0.422589, abs=1e-6)
    assert bradley_terry_loss(chosen + 7, rejected + 7).item() == pytest.approx(0.422589, abs=1e-6)


def test_an_identical_pair_has_loss_ln_2_and_no_gradient() -> None:
    scores = torch.tensor([0.7], requires_grad=True)
    loss = bradley_terry_loss(scores, scores)
    loss.backward()
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    assert scores.grad is not None
    assert scores.grad.item() == 0.0


def test_extreme_scores_stay_finite() -> None:
    loss = bradley_terry_loss(torch.tensor([-1000.0]), torch.tensor([1000.0]))
    assert loss.item() == pytest.approx(2000.0)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=5))
def test_swapping_the_labels_costs_the_mean_difference(differences: list[float]) -> None:
    chosen = torch.tensor(differences, dtype=torch.float64)
    rejected = torch.zeros_like(chosen)
    swapped = bradley_terry_loss(rejected, chosen) - bradley_terry_loss(chosen, rejected)
    assert swapped.item() == pytest.approx(sum(differences) / len(differences), abs=1e-9)


def test_prefixes_count_where_both_responses_have_one() -> None:
    chosen = torch.tensor([[1.0, 9.0, 0.3], [0.3, 5.0, 5.0]], requires_grad=True)
    rejected = torch.tensor([[0.2, 0.0, -0.2], [-0.2, 0.0, 0.0]])
    is_compared = torch.tensor([[True, False, True], [True, False, False]])
    loss = prefix_bradley_terry_loss(chosen, rejected, is_compared)
    # Pair 1: (0.371101 + 0.474077) / 2; pair 2: 0.474077.
    assert loss.item() == pytest.approx(0.448333, abs=1e-6)
    loss.backward()
    assert chosen.grad is not None
    assert (chosen.grad[~is_compared] == 0.0).all()


def test_pairs_without_common_prefix_cost_nothing() -> None:
    scores = torch.ones(2, 3)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert prefix_bradley_terry_loss(scores, -scores, nothing).item() == 0.0


@pytest.mark.parametrize(("chosen", "rejected"), [((2,), (3,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_wrong_shapes_are_named(chosen: tuple[int, ...], rejected: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="chosen and rejected must be 1-dimensional"):
        bradley_terry_loss(torch.zeros(chosen), torch.zeros(rejected))


def test_padding_follows_lengths() -> None:
    ids, mask = padded([torch.tensor([3, 0, 5]), torch.tensor([0])])
    assert ids.tolist() == [[3, 0, 5], [0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_scores_depend_neither_on_padding_nor_on_the_batch(
    rows: tuple[list[Tensor], list[Tensor]],
) -> None:
    model = tiny_reward_model()
    together = model(*rows)
    alone = torch.cat([model([p], [r]) for p, r in zip(*rows, strict=True)])
    model.batch_size = 2
    chunked = model(*rows)
    assert together.std() > 0.1
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, chunked, atol=1e-5, rtol=0)


def test_prefix_scores_are_the_scores_of_the_prefixes(
    rows: tuple[list[Tensor], list[Tensor]],
) -> None:
    model = tiny_reward_model()
    scored = model.prefix_scores(*rows)
    assert [len(row) for row in scored] == [1, 8, 2, 13, 5]
    torch.testing.assert_close(torch.stack([row[-1] for row in scored]), model(*rows))
    for prompt, response, row in zip(*rows, scored, strict=True):
        prefixes = [response[:t] for t in range(len(response) + 1)]
        expected = model([prompt] * len(prefixes), prefixes)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)


def test_scoring_twice_gives_the_same_bits_and_no_graph(
    rows: tuple[list[Tensor], list[Tensor]],
) -> None:
    model = tiny_reward_model()
    first = model(*rows)
    assert torch.equal(first, model(*rows))
    assert not first.requires_grad
    assert model.scores(*padded(rows[0])).requires_grad


def test_a_new_model_scores_everything_0(rows: tuple[list[Tensor], list[Tensor]]) -> None:
    with torch.random.fork_rng(devices=[]):
        model = ScalarRewardModel(tiny_reward_model().trunk)  # type: ignore[arg-type]
    assert model(*rows).tolist() == [0.0] * 5
    assert model([], []).shape == (0,)


def test_normalizing_keeps_the_order_and_is_saved(
    rows: tuple[list[Tensor], list[Tensor]], tmp_path: Path
) -> None:
    model = tiny_reward_model()
    before = model(*rows)
    model.normalize(*rows)
    model.normalize(*rows)
    after = model(*rows)
    assert after.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert after.std(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    assert after.argsort().tolist() == before.argsort().tolist()
    save_model(model, str(tmp_path / "model.safetensors"))
    other = tiny_reward_model(seed=5)
    load_model(other, tmp_path / "model.safetensors")
    assert torch.equal(other(*rows), after)


def test_an_empty_prompt_is_refused() -> None:
    empty = torch.zeros(0, dtype=torch.long)
    with pytest.raises(ValueError, match="at least one token"):
        tiny_reward_model()([empty], [torch.tensor([1])])


def test_an_old_file_without_the_remainder_of_the_mean_loads() -> None:
    model = tiny_reward_model()
    model.mean_remainder.fill_(0.5)
    old = {name: value for name, value in model.state_dict().items() if "remainder" not in name}
    model.load_state_dict(old)
    assert model.mean_remainder.item() == 0.0
    assert "mean_remainder" not in old
