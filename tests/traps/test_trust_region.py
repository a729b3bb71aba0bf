"""Trust regions (traps G): one step of TRPO on one decision, by its literal numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import TRPO
from agents.algorithms.trust_region import fisher, learner
from agents.algorithms.trust_region.fisher import summed_kl
from agents.algorithms.trust_region.learner import TrustRegionLearner
from rlhf_env.engine.language_model import LanguageModel, length_batches
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import table_task
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.rlhf_env.mdp.test_evaluate import as_rollout
from tests.toys import theta_policy

# As far as F + 0.1 allows within 0.01 nats: 0.068664 of (2.172988, -0.103972, -2.069017).
STEP = [0.149206, -0.007139, -0.142067]


def one_decision(logits: list[float]) -> Task:
    return table_task(3, 1, lambda prefix: logits, lambda tokens: 0.0)


def each_token_once(task: Task) -> Rollout:
    return as_rollout(task, [(0, [token], [0.0]) for token in range(3)], [1, 1, 1])


def stepped(**settings: Any) -> tuple[Tensor, dict[str, float]]:
    """Return how the logits 0.2, -0.1 and 0.4 move along the gradient (1, 0, -1)."""
    task = one_decision([0.2, -0.1, 0.4])
    agent = TRPO(make_envs(task, 1), max_kl=0.01, damping=0.1, **settings)
    (table,) = agent.policy.model.parameters()
    before, rollout = table.detach().clone(), each_token_once(task)
    old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    targets = agent.learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
    # The mean of A (e_token - p) over tokens 0, 1 and 2 is (1, 0, -1).
    chosen = dataclasses.replace(targets, advantages=torch.tensor([[3.0], [0.0], [-3.0]]))
    metrics = agent.learner.update(rollout, old, chosen, np.random.default_rng(0))
    return (table.detach() - before).flatten(), metrics


def test_the_step_of_one_decision() -> None:
    """Trap G2, through the agent: direction, length, and the KL that it really costs."""
    moved, metrics = stepped()
    assert moved.tolist() == pytest.approx(STEP, abs=2e-6)
    assert metrics["kl_to_old"] == pytest.approx(0.007927, abs=1e-6)
    assert metrics["step_fraction"] == 1.0
    # The length of (1, 0, -1).
    assert metrics["gradient_norm"] == pytest.approx(1.414214, abs=1e-6)


def test_a_shorter_step_is_a_part_of_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap G3: three times as far is 0.07 nats; half of it is still too far, a quarter is not."""
    found = TrustRegionLearner._longest_step
    monkeypatch.setattr(TrustRegionLearner, "_longest_step", lambda *given: 3.0 * found(*given))
    moved, metrics = stepped()
    assert metrics["step_fraction"] == 0.25
    assert moved.tolist() == pytest.approx([0.75 * part for part in STEP], abs=2e-6)
    moved, metrics = stepped(max_backtracks=1)
    assert moved.tolist() == [0.0, 0.0, 0.0]
    assert (metrics["line_search_failed"], metrics["kl_to_old"]) == (1.0, 0.0)


def test_the_region_is_around_the_policy_that_acted() -> None:
    """Traps G4 and D1: KL(old || new) and not the reverse, once for each of three episodes."""
    old, new = (
        LanguageModel(one_decision(torch.tensor(row).log().tolist()).reference, 3)
        for row in ([0.5, 0.3, 0.2], [0.4, 0.4, 0.2])
    )
    rollout = each_token_once(one_decision([0.0, 0.0, 0.0]))
    assert summed_kl(old, new, rollout, 1.0).item() / 3 == pytest.approx(0.025267, abs=1e-6)
    assert summed_kl(new, old, rollout, 1.0).item() / 3 == pytest.approx(0.025815, abs=1e-6)


def test_the_step_does_not_depend_on_the_micro_batches(
    toy15: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traps E2 and K4: gradient, curvature and KL of all responses at once, and one by one."""
    moved = []
    for budget in (10**6, 1):
        for module in (fisher, learner):
            monkeypatch.setattr(
                module,
                "length_batches",
                lambda is_action, budget=budget: length_batches(is_action, budget),
            )
        agent = TRPO(make_envs(toy15), policy=theta_policy(toy15), max_kl=0.01)
        (table,) = agent.policy.model.parameters()
        before = table.detach().clone()
        metrics = agent.update(every_toy15_episode(agent))
        assert 0.001 < metrics["kl_to_old"] <= 0.01
        moved.append(table.detach() - before)
    assert torch.allclose(moved[0], moved[1], atol=1e-5)
