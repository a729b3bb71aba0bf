"""Products by other kernels have the numbers, and the gradients, of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from rlhf_env.engine import matmul
from rlhf_env.engine.matmul import linear, times_weight
from rlhf_env.engine.module_view import clone_modules

# States of three rows, and weights on both sides of the size from which on oneDNN is asked.
SHAPES = [(3, 5, 7), (32, 96, 800), (300, 96, 800), (1, 300, 400)]


def product(states: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random states [S, I], weight [O, I] and bias [O]."""
    generator = torch.Generator().manual_seed(states)
    return (
        torch.randn(states, inputs, generator=generator),
        torch.randn(outputs, inputs, generator=generator),
        torch.randn(outputs, generator=generator),
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the products that oneDNN was asked for."""
    seen: list[tuple[int, ...]] = []
    original = matmul.onednn_linear

    def record(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append((*states.shape, len(weight)))
        return original(states, weight, bias)

    monkeypatch.setattr(matmul, "onednn_linear", record)
    return seen


def test_a_product_by_hand() -> None:
    states = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    weight = torch.tensor([[3.0, 4.0], [5.0, 6.0], [0.5, 0.0]])
    bias = torch.tensor([0.0, 1.0, 10.0])
    assert linear(states, weight).tolist() == [[11.0, 17.0, 0.5], [-4.0, -6.0, 0.0]]
    assert linear(states, weight, bias).tolist() == [[11.0, 18.0, 10.5], [-4.0, -5.0, 10.0]]
    assert times_weight(torch.tensor([[1.0, 0.0, 2.0]]), weight).tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("has_bias", [False, True])
def test_numbers_and_gradients_are_pytorch_s(shape: tuple[int, int, int], has_bias: bool) -> None:
    parts = list(product(*shape))[: 3 if has_bias else 2]
    expected = functional.linear(*parts)
    torch.testing.assert_close(linear(*parts), expected, atol=1e-4, rtol=1e-5)
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for rule in (linear, functional.linear):
        leaves = [part.clone().requires_grad_() for part in parts]
        found.append(torch.autograd.grad(rule(*leaves), leaves, pull))
    torch.testing.assert_close(found[0], found[1], atol=2e-4, rtol=1e-5)


@pytest.mark.skipif(not matmul.has_onednn(), reason="this PyTorch has no oneDNN")
def test_onednn_is_asked_for_large_products_only(asked: list[tuple[int, ...]]) -> None:
    for shape in SHAPES:
        states, weight, _ = product(*shape)
        linear(states, weight)
    assert asked == [(300, 96, 800)]
    weight.requires_grad_()
    states, weight, _ = product(300, 96, 800)
    linear(states, weight.requires_grad_()).sum().backward()
    assert asked[1:] == [(300, 96, 800)]
    states.requires_grad_()
    linear(states, weight).sum().backward()
    assert asked[2:] == [(300, 96, 800), (300, 800, 96)]


def test_frozen_weights_get_no_gradient() -> None:
    states, weight, _ = product(300, 96, 800)
    linear(states.requires_grad_(), weight).sum().backward()
    assert states.grad is not None
    assert weight.grad is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=0, max_size=3), st.integers(1, 5), st.integers(1, 5))
def test_any_leading_dimensions(leading: list[int], inputs: int, outputs: int) -> None:
    states = torch.randn(*leading, inputs)
    weight = torch.randn(outputs, inputs)
    torch.testing.assert_close(linear(states, weight), functional.linear(states, weight))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_pytorch(dtype: torch.dtype, asked: list[object]) -> None:
    states, weight, bias = (part.to(dtype) for part in product(300, 96, 800))
    expected = functional.linear(states, weight, bias)
    assert torch.equal(linear(states, weight, bias), expected)
    assert asked == []


def test_autocast_is_left_to_pytorch(asked: list[object]) -> None:
    states, weight, _ = product(300, 96, 800)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(states, weight).dtype == torch.bfloat16
    assert asked == []


def test_a_twin_shares_weights_and_leaves_the_model_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    twin = clone_modules(model)
    states = torch.randn(5, 3)
    torch.testing.assert_close(twin(states), model(states))
    assert [type(module) for module in model] == [nn.Linear, nn.ReLU, nn.Linear]
    assert all(a is b for a, b in zip(twin.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        model[2].bias += 1.0
    torch.testing.assert_close(twin(states), model(states))


def test_a_twin_runs_hooks_and_code_put_in_the_place_of_a_method() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    seen: list[int] = []
    twin = clone_modules(model)
    model[0].register_forward_hook(lambda *_: seen.append(1))
    twin(torch.zeros(1, 3))
    assert seen == [1]
    model[0].forward = lambda states: states + 7.0  # type: ignore[method-assign]
    assert clone_modules(model)(torch.zeros(1, 3)).tolist() == [[7.0, 7.0, 7.0]]
