"""Without a learning rate no agent moves, and its ratios say so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import DAPO, GRPO, GSPO, PPO, TRPO, Agent, DrGRPO, KLPenaltyPPO
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal
from tests.toys import tiny_gpt2, tiny_gpt2_task

# What else is in a batch may change the last place of log pi.
ROUNDING = 1e-6


@pytest.mark.parametrize("kind", [PPO, KLPenaltyPPO, TRPO, GRPO, DrGRPO, DAPO, GSPO])
@pytest.mark.parametrize(("temperature", "dropout"), [(1.0, 0.0), (0.7, 0.1)])
def test_nothing_moves(kind: type[Agent], temperature: float, dropout: float) -> None:
    """Traps K1, A1 and A4; the length of TRPO's step is its max_kl."""
    settings: dict[str, Any] = {"max_kl": 0.0, "cg_iterations": 2} if kind is TRPO else {}
    agent = kind(
        make_envs(tiny_gpt2_task(dropout=dropout), 8),
        policy=tiny_gpt2(seed=1, dropout=dropout),
        episodes_per_update=16,
        learning_rate=0.0,
        temperature=temperature,
        epochs=2,
        minibatches=4,
        **settings,
    )
    before = [p.detach().clone() for p in agent.policy.parameters()]
    metrics = agent.update(agent.collect())
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=ROUNDING)
    assert metrics["clip_fraction"] == 0.0
    assert metrics["approx_kl"] < 1e-10
    assert metrics["optimizer_steps"] == 8.0
    assert metrics.get("kl_to_old", 0.0) == pytest.approx(0.0, abs=1e-9)
    assert_equal(before, [p.detach() for p in agent.policy.parameters()])
    assert not any(torch.isnan(p).any() for p in before)
