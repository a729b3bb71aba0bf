"""Means and groups (traps E): one gradient however a rollout is cut, and groups of equals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import binom

import agents.training.learner
from agents import DAPO, GSPO, RLOO, Agent, DrGRPO, KLPenaltyPPO, Reinforce
from agents.algorithms.group_advantages import are_equal
from rlhf_env.engine.language_model import length_batches
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2, tiny_gpt2_task

KINDS: list[tuple[type[Agent], dict[str, Any]]] = [
    (KLPenaltyPPO, {}),
    (RLOO, {"clip_range": 0.2}),
    (Reinforce, {"baseline": "value"}),
    (DrGRPO, {}),
    (DAPO, {}),
    (GSPO, {"kl_placement": "loss", "kl_estimator": "k3"}),
]


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_the_gradient_does_not_depend_on_the_micro_batches(
    kind: type[Agent], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traps E2 and K4: 16 ragged episodes at once, in some batches and one by one."""
    small = {"episodes_per_update": 16, "epochs": 1, "minibatches": 1, "learning_rate": 0.0}
    found, rollout = [], None
    for budget in (10**6, 30, 1):
        monkeypatch.setattr(
            agents.training.learner,
            "length_batches",
            lambda is_action, budget=budget: length_batches(is_action, budget),
        )
        agent = kind(
            make_envs(tiny_gpt2_task(), 8),
            policy=tiny_gpt2(seed=1),
            # No limit on the norm, which would hide a wrong scale.
            max_grad_norm=1e9,
            **small,
            **settings,
        )
        rollout = rollout or agent.collect()
        agent.update(rollout)
        slopes = [p.grad.flatten() for p in agent.policy.parameters() if p.grad is not None]
        found.append(torch.cat(slopes))
    norm = found[0].norm()
    assert norm > 1e-3
    for split in found[1:]:
        assert (split - found[0]).norm() < 1e-5 * norm


@pytest.mark.parametrize(
    ("size", "expected"), [(2, 0.7024), (4, 0.4490), (8, 0.2007), (16, 0.0403)]
)
def test_how_often_a_group_has_equal_scores(size: int, expected: float) -> None:
    """Trap E12: groups of ``size`` responses, of which each succeeds with probability 0.1819."""
    group = torch.zeros(size, dtype=torch.int64)
    share = 0.0
    for wins in range(size + 1):
        score = (torch.arange(size) < wins).float()
        share += binom.pmf(wins, size, 0.1819) * are_equal(score, group)[0].item()
    assert share == pytest.approx(expected, abs=5e-5)
