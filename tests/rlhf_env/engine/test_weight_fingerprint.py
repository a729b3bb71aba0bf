"""Changed weights are noticed, however they were changed (trap A12)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rlhf_env.engine.engine import Engine
from rlhf_env.engine.weight_fingerprint import WeightFingerprint
from tests.rlhf_env.engine.test_engine import L, V, logits_of, walk
from tests.toys import tiny_llama


def adam_step(model: nn.Module, **settings: bool) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, **settings)
    loss = model(input_ids=torch.tensor([[3, 4, 5]])).logits.square().sum()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def write_in_place(model: nn.Module) -> None:
    next(model.parameters()).mul_(1.5)


WRITES: dict[str, Callable[[nn.Module], None]] = {
    "foreach": lambda model: adam_step(model, foreach=True),
    "for loop": lambda model: adam_step(model, foreach=False),
    "fused": lambda model: adam_step(model, fused=True),
    "load_state_dict": lambda model: model.load_state_dict(tiny_llama(seed=1).state_dict()),
    "in place": write_in_place,
    "exchanged": lambda model: model.set_output_embeddings(tiny_llama(seed=2).lm_head),
    "to": lambda model: (
        model.to(torch.float64).to(torch.float32).load_state_dict(tiny_llama(seed=3).state_dict())
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_changed_weights_are_noticed_in_mid_episode(write: Callable[[nn.Module], None]) -> None:
    """Trap A12."""
    model = tiny_llama()
    engine = Engine(model, V)
    tokens, lengths = walk(3)[0]
    before = engine(tokens, lengths)
    write(model)
    expected = logits_of(model, tokens, lengths)
    assert not torch.allclose(before, expected)
    torch.testing.assert_close(engine(tokens, lengths), expected, atol=1e-5, rtol=1e-5)
    tokens.scatter_(1, lengths.clamp(max=L - 1)[:, None], 9)
    torch.testing.assert_close(
        engine(tokens, lengths + 1), logits_of(model, tokens, lengths + 1), atol=1e-5, rtol=1e-5
    )


def test_weights_made_in_inference_mode_are_served() -> None:
    with torch.inference_mode():
        model = tiny_llama()
    tokens, lengths = walk(0)[0]
    found = Engine(model, V)(tokens, lengths)
    torch.testing.assert_close(found, logits_of(tiny_llama(), tokens, lengths))


def test_reading_is_no_change() -> None:
    model = tiny_llama()
    weights = WeightFingerprint(model)
    model(input_ids=torch.tensor([[3, 4]])).logits.sum().backward()
    model.state_dict()
    assert weights.matches(model)
    assert not weights.matches(tiny_llama())


def test_writes_behind_the_version_counter() -> None:
    model = tiny_llama()
    weights = WeightFingerprint(model)
    for parameter in model.parameters():
        parameter.data.mul_(1.01)
    assert not weights.matches(model)


def test_tensors_of_every_form() -> None:
    model = nn.Module()
    model.transposed = nn.Parameter(torch.ones(3, 4).T)
    model.empty = nn.Parameter(torch.ones(0, 4))
    model.scalar = nn.Parameter(torch.ones(()))
    model.register_buffer("count", torch.zeros(2, dtype=torch.int64))
    weights = WeightFingerprint(model)
    assert weights.matches(model)
    model.scalar.data.add_(1)
    assert not weights.matches(model)
