"""Finished texts in few operations: the numbers and gradients of the model's own modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlhf_env.engine import packed_pass
from rlhf_env.engine.fused.trunk import supports_fused_pass
from rlhf_env.engine.packed_pass import hidden_at
from tests.rlhf_env.engine.test_fused_decoder import LEAN, OTHERS, V, llama
from tests.toys import tiny_llama


def texts(shares_opening: bool) -> tuple[Tensor, Tensor]:
    """Eight texts of up to 11 tokens, in pairs that may share their first four."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, V, (8, 12), generator=generator)
    if shares_opening:
        tokens[:, :4] = tokens[::2, :4].repeat_interleave(2, dim=0)
    lengths = torch.tensor([5, 9, 11, 5, 5, 9, 4, 11])[:, None]
    columns = torch.arange(12)
    return tokens, (columns >= 3) & (columns < lengths)


def outputs_and_gradients(
    trunk: nn.Module, tokens: Tensor, wanted: Tensor, **how: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The trunk's output and the gradient of a weighted sum of it by every weight."""
    found = hidden_at(trunk, tokens, wanted, **how)
    slopes = torch.linspace(-1.0, 1.0, found.numel()).view_as(found)
    gradients = torch.autograd.grad(found, list(trunk.parameters()), slopes)
    return found.detach(), gradients


@pytest.mark.parametrize("shares_opening", [False, True])
@pytest.mark.parametrize("recomputes_layers", [False, True])
@pytest.mark.parametrize("build", LEAN.values(), ids=LEAN.keys())
def test_numbers_and_gradients_are_those_of_the_modules(
    build: Callable[[], nn.Module],
    recomputes_layers: bool,
    shares_opening: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trunk: Any = build().base_model.requires_grad_(True)
    assert supports_fused_pass(trunk)
    tokens, wanted = texts(shares_opening)
    how = {"recomputes_layers": recomputes_layers}
    found, gradients = outputs_and_gradients(trunk, tokens, wanted, **how)
    monkeypatch.setattr(packed_pass, "supports_fused_pass", lambda trunk: False)
    expected, theirs = outputs_and_gradients(trunk, tokens, wanted)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
    for ours, other in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("begins_at", [3, 60])
@pytest.mark.parametrize("is_last_only", [False, True])
def test_texts_that_are_filled_up(
    begins_at: int, is_last_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are shorter than what is filled, one ends at a multiple; or only ends are wanted."""
    trunk: Any = llama(max_position_embeddings=128).base_model.requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, V, (6, 97), generator=generator)
    tokens[:, : begins_at + 1] = tokens[::2, : begins_at + 1].repeat_interleave(2, dim=0)
    lengths = torch.tensor([61, 63, 64, 65, 96, 97])[:, None]
    columns = torch.arange(97)
    wanted = (columns >= begins_at) & (columns < lengths)
    if is_last_only:
        wanted &= columns == lengths - 1
    found, gradients = outputs_and_gradients(trunk, tokens, wanted)
    monkeypatch.setattr(packed_pass, "supports_fused_pass", lambda trunk: False)
    expected, theirs = outputs_and_gradients(trunk, tokens, wanted)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
    for ours, other in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(ours, other, atol=2e-4, rtol=2e-4)


def test_one_graph_can_be_gone_through_twice() -> None:
    trunk: Any = llama().base_model.requires_grad_(True)
    found = hidden_at(trunk, *texts(shares_opening=True))
    weight = trunk.layers[0].mlp.gate_proj.weight
    first, second = (
        torch.autograd.grad(found.sum(), weight, retain_graph=True)[0] for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.abs().max() > 0


def test_frozen_weights_get_no_gradient() -> None:
    trunk: Any = llama().base_model.requires_grad_(False)
    weight = trunk.layers[1].self_attn.k_proj.weight.requires_grad_(True)
    hidden_at(trunk, *texts(shares_opening=False)).square().sum().backward()
    assert weight.grad is not None
    assert [p for p in trunk.parameters() if p.grad is not None] == [weight]


# A class of one's own around a plain trunk changes nothing in a pass of the trunk.
@pytest.mark.parametrize("name", sorted(OTHERS.keys() - {"of another class"}))
def test_other_trunks_run_their_modules(name: str) -> None:
    model = OTHERS[name]()
    assert not supports_fused_pass(getattr(model, "base_model", model))


def test_a_pass_in_16_bits_runs_the_modules() -> None:
    trunk: Any = tiny_llama().base_model
    with torch.autocast("cpu", torch.bfloat16):
        assert not supports_fused_pass(trunk)


def test_it_may_be_asked_for_in_inference_mode_first() -> None:
    trunk: Any = tiny_llama().base_model
    with torch.inference_mode():
        assert supports_fused_pass(trunk)
        found = hidden_at(trunk, *texts(shares_opening=True))
    torch.testing.assert_close(found, hidden_at(trunk, *texts(shares_opening=True)).detach())
