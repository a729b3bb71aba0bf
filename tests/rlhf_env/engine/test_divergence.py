"""KL between two models and collision probabilities, in every state, over the whole vocabulary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlhf_env.engine import projection
from rlhf_env.engine.divergence import log_collision, next_token_kl
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.task import Task
from tests.rlhf_env.engine.test_update_memory import peak_bytes, small_llama
from tests.toys import theta_policy, tiny_gpt2, tiny_llama

V = 32
STATES = torch.eye(7)


def toy_models(task: Task) -> tuple[LanguageModel, LanguageModel]:
    return LanguageModel(task.reference, 3), LanguageModel(theta_policy(task), 3)


def table(lm: LanguageModel) -> Tensor:
    return next(iter(lm.model.parameters()))


def naive_kl(p_logits: Tensor, q_logits: Tensor, temperature: float) -> Tensor:
    p, q = ((z.double() / temperature).softmax(dim=-1) for z in (p_logits, q_logits))
    return (p * (p.log() - q.log())).sum(dim=-1)


def test_reference_to_theta_in_every_state(toy15: Task) -> None:
    """The seven numbers that enumeration gives, and what differs the other way round."""
    reference, theta = toy_models(toy15)
    found = next_token_kl(reference, theta, STATES, STATES, 1.0)
    expected = [0.005353, 0.011354, 0.010017, 0.004066, 0.012754, 0.011845, 0.002397]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    other_way = next_token_kl(theta, reference, STATES, STATES, 1.0)
    assert not torch.allclose(found, other_way, rtol=0.01)


def test_no_kl_to_itself(toy15: Task) -> None:
    reference, _ = toy_models(toy15)
    assert next_token_kl(reference, reference, STATES, STATES, 0.7).tolist() == [0.0] * 7


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("rows", [5, 1000])
def test_value_and_gradient_of_a_transformer(
    temperature: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the definition in float64, in chunks and at once; the first model has no gradient."""
    monkeypatch.setattr(projection, "_CHUNK_ELEMENTS", rows * V)
    first = LanguageModel(tiny_llama(seed=1).requires_grad_(True), V)
    second = LanguageModel(tiny_gpt2().requires_grad_(True), V)
    tokens = torch.randint(0, V, (4, 6), generator=torch.Generator().manual_seed(0))
    weights = torch.linspace(-1.0, 2.0, 24)
    theirs, ours = (lm.hidden(tokens).flatten(0, 1) for lm in (first, second))
    found = next_token_kl(first, second, theirs, ours, temperature)
    (found * weights).sum().backward()
    got = [p.grad.clone() for p in second.model.parameters() if p.grad is not None]
    assert all(p.grad is None for p in first.model.parameters())
    second.model.zero_grad()
    expected = naive_kl(
        first.model(tokens).logits.flatten(0, 1).detach(),
        second.model(tokens).logits.flatten(0, 1),
        temperature,
    )
    (expected * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
    wanted = [p.grad for p in second.model.parameters() if p.grad is not None]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


def test_tokens_that_underflow_count_nothing(toy15: Task) -> None:
    """0 log 0 is 0: neither value nor gradient is NaN."""
    reference, theta = toy_models(toy15)
    with torch.no_grad():
        table(reference)[2] -= 500.0
        table(theta)[2] -= 1000.0
    found = next_token_kl(reference, theta, STATES, STATES, 1.0)
    found.sum().backward()
    slopes = table(theta).grad
    assert found.isfinite().all()
    assert slopes is not None
    assert slopes.isfinite().all()
    assert slopes[2].tolist() == [0.0] * 7


def test_collision_probability(toy15: Task) -> None:
    """Uniform over 3 tokens: log 1/3; (1/2, 1/4, 1/4): log 3/8, and at half the temperature 1/2."""
    lm, _ = toy_models(toy15)
    with torch.no_grad():
        table(lm).zero_()
        table(lm)[0, 1] = 0.693147
    found = log_collision(lm, STATES[:2], 1.0)
    assert found.tolist() == pytest.approx([-1.098612, -0.980829], abs=1e-6)
    # (4, 1, 1) / 6: 18 / 36
    assert log_collision(lm, STATES[1:2], 0.5).item() == pytest.approx(-0.693147, abs=1e-6)
    assert not found.requires_grad


@pytest.mark.slow
def test_memory_at_a_large_vocabulary() -> None:
    """Logits [4,088, 50,257] of float32 alone would take 822 MB, for each of the two models."""
    vocab_size, rows, length = 50_257, 8, 512
    first, second = (LanguageModel(small_llama(vocab_size, length), vocab_size) for _ in range(2))
    tokens = torch.randint(0, vocab_size, (rows, length))
    is_state = (torch.arange(length) < length - 1).expand(rows, length)

    def update() -> None:
        with torch.no_grad():
            theirs = first.packed_hidden(tokens, is_state)
        ours = second.packed_hidden(tokens, is_state)
        next_token_kl(first, second, theirs, ours, 1.0).sum().backward()
        log_collision(second, ours.detach(), 1.0)

    assert peak_bytes(update) < 823_410_688 / 4
