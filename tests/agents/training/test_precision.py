"""Passes in 16 bits: the weights stay as they are, and sampler and learner agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import GRPO, PPO, Agent, Policy
from tests.agents.episodes import make_envs
from tests.toys import tiny_llama, tiny_llama_task


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_nothing_moves_at_learning_rate_zero(kind: type[Agent]) -> None:
    """The old log-probabilities come from passes of the same precision, so all ratios are 1."""
    settings: dict[str, Any] = {"precision": "bf16", "learning_rate": 0.0}
    agent = kind(make_envs(tiny_llama_task(), 8), episodes_per_update=8, **settings)
    metrics = agent.update(agent.collect())
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-6)
    assert metrics["clip_fraction"] == 0.0


def test_weights_and_their_gradients_keep_32_bits() -> None:
    agent = GRPO(make_envs(tiny_llama_task(), 8), episodes_per_update=8, precision="bf16")
    before = [p.clone() for p in agent.policy.model.parameters()]
    agent.learn(16, progress=False)
    assert {p.dtype for p in agent.policy.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in agent.policy.model.parameters() if p.grad is not None} == {
        torch.float32
    }
    moved = [
        not torch.equal(p, q) for p, q in zip(agent.policy.model.parameters(), before, strict=True)
    ]
    assert any(moved)


def test_sixteen_bits_are_near_thirty_two() -> None:
    tokens = torch.arange(24).reshape(2, 12)
    is_action = torch.arange(12).expand(2, 12) >= 3
    exact = Policy(tiny_llama(), 32).evaluate_tokens(tokens, is_action)
    rough = Policy(tiny_llama(), 32, precision="bf16").evaluate_tokens(tokens, is_action)
    difference = (exact.logprobs - rough.logprobs).abs().max().item()
    assert 0 < difference < 0.16
    assert rough.logprobs.dtype == rough.values.dtype == torch.float32
