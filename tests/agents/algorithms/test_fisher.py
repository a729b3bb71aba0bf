"""The curvature of the KL, exact over the vocabulary, and the direction that it gives."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

import agents.algorithms.trust_region.fisher
from agents import TRPO
from agents.algorithms.trust_region.conjugate_gradient import conjugate_gradient, step_scale
from agents.algorithms.trust_region.fisher import summed_fisher_product, summed_kl
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.tasks import load_task, table_task
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.rlhf_env.toy15_tables import ACTIONS, STATES
from tests.toys import theta_policy, tiny_gpt2_task, tiny_llama_task

# diag(p) - p pᵀ of the softmax of (0.2, -0.1, 0.4).
FISHER = torch.tensor(
    [
        [0.22362130, -0.08442630, -0.13919500],
        [-0.08442630, 0.18754449, -0.10311819],
        [-0.13919500, -0.10311819, 0.24231319],
    ],
    dtype=torch.float64,
)


def toy_agent(**changes: Any) -> TRPO:
    task = load_task("toy15")
    return TRPO(make_envs(task, 16), policy=theta_policy(task), **changes)


def dense_fisher(table: Tensor) -> Tensor:
    """[21, 21] of the table [3, 7], summed over the 41 actions of the 15 responses."""
    dense = torch.zeros(3, 7, 3, 7, dtype=torch.float64)
    for actions, states in zip(ACTIONS.tolist(), STATES.tolist(), strict=True):
        for action, state in zip(actions, states, strict=True):
            if action >= 0:
                p = table[:, state].double().softmax(dim=0)
                dense[:, state, :, state] += torch.diag(p) - torch.outer(p, p)
    return dense.reshape(21, 21)


def test_the_product_is_that_of_the_matrix_written_out() -> None:
    """Trap G1: one decision with the logits 0.2, -0.1 and 0.4."""
    task = table_task(3, 1, lambda prefix: [0.2, -0.1, 0.4], lambda tokens: float(sum(tokens)))
    agent = TRPO(make_envs(task, 1), episodes_per_update=4)
    (table,) = agent.policy.model.parameters()
    rollout = agent.collect().take(torch.tensor([0]))
    for column in range(3):
        vector = torch.zeros(3, 1)
        vector[column] = 1.0
        (found,) = summed_fisher_product(agent.policy.lm, [table], [vector], rollout, 1.0)
        assert found.flatten().tolist() == pytest.approx(FISHER[:, column].tolist(), abs=1e-6)
    (nothing,) = summed_fisher_product(agent.policy.lm, [table], [torch.ones(3, 1)], rollout, 1.0)
    assert nothing.flatten().tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-7)


@pytest.mark.parametrize("chunk", [2**22, 12])
def test_the_product_on_all_responses(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the dense matrix; padding and the projection's chunks do not matter."""
    monkeypatch.setattr(agents.algorithms.trust_region.fisher, "_CHUNK_ELEMENTS", chunk)
    agent = toy_agent()
    (table,) = agent.policy.model.parameters()
    dense = dense_fisher(table.detach())
    vector = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    rollout = every_toy15_episode(agent)
    (found,) = summed_fisher_product(agent.policy.lm, [table], [vector], rollout, 1.0)
    expected = dense @ vector.flatten().double()
    assert found.flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    # At a temperature of 2 the table is half the logits' change, and the matrix a quarter.
    with torch.no_grad():
        table.mul_(2.0)
    (found,) = summed_fisher_product(agent.policy.lm, [table], [vector], rollout, 2.0)
    assert found.flatten().tolist() == pytest.approx((expected / 4).tolist(), abs=1e-5)


@pytest.mark.parametrize("make_task", [tiny_gpt2_task, tiny_llama_task])
def test_the_product_is_the_curvature_of_the_kl_of_a_transformer(make_task: Any) -> None:
    """vᵀFv against KL at a small distance along v, and uᵀFv against vᵀFu; tied weights too."""
    agent = TRPO(make_envs(make_task(), 4), episodes_per_update=8)
    rollout, lm = agent.collect(), agent.policy.lm
    parameters = list(agent.policy.model.parameters())
    generator = torch.Generator().manual_seed(0)
    v, u = ([torch.randn(p.shape, generator=generator) for p in parameters] for _ in range(2))
    from_v, from_u = (
        summed_fisher_product(lm, parameters, vector, rollout, 0.7) for vector in (v, u)
    )

    def dot(left: list[Tensor], right: list[Tensor]) -> float:
        return sum(float((a * b).sum()) for a, b in zip(left, right, strict=True))

    assert dot(u, from_v) == pytest.approx(dot(v, from_u), rel=1e-3)
    moved = copy.deepcopy(agent.policy.model)
    size = (2 * 0.002 / dot(v, from_v)) ** 0.5
    with torch.no_grad():
        for parameter, direction in zip(moved.parameters(), v, strict=True):
            parameter.add_(size * direction)
    kl = summed_kl(lm, LanguageModel(moved, lm.vocab_size), rollout, 0.7)
    assert float(kl) == pytest.approx(0.002, rel=0.05)


def test_direction_and_scale() -> None:
    """Trap G2."""
    matrix = FISHER + 0.1 * torch.eye(3, dtype=torch.float64)
    gradient = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    direction = conjugate_gradient(lambda x: matrix @ x, gradient, iterations=10)
    assert direction.tolist() == pytest.approx([2.172988, -0.103972, -2.069017], abs=1e-5)
    scale = step_scale(direction, matrix @ direction, max_kl=0.01)
    assert scale == pytest.approx(0.068664, abs=1e-6)
    old = torch.tensor([0.2, -0.1, 0.4], dtype=torch.float64)
    p, q = old.log_softmax(0), (old + scale * direction).log_softmax(0)
    assert float((p.exp() * (p - q)).sum()) == pytest.approx(0.007927, abs=1e-6)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 8))
@hypothesis_settings(max_examples=40, deadline=None)
def test_as_many_steps_as_unknowns_solve_any_system(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, dtype=torch.float64, generator=generator)
    matrix = root @ root.T + torch.eye(size, dtype=torch.float64)
    right = torch.randn(size, dtype=torch.float64, generator=generator)
    found = conjugate_gradient(lambda x: matrix @ x, right, size, tolerance=1e-24)
    assert torch.allclose(found, torch.linalg.solve(matrix, right), rtol=1e-6, atol=1e-6)


def test_nothing_to_follow_is_no_step() -> None:
    zeros = torch.zeros(3)
    assert conjugate_gradient(lambda x: x, zeros, 5).tolist() == [0.0, 0.0, 0.0]
    assert step_scale(zeros, zeros, 0.01) == 0.0
    assert step_scale(torch.full((3,), torch.nan), zeros, 0.01) == 0.0


def test_the_step_is_the_natural_gradient_of_the_surrogate() -> None:
    """On all responses: the direction that the dense matrix gives, as long as max_kl allows."""
    agent = toy_agent(max_kl=0.001, cg_iterations=40, gae_lambda=1.0)
    (table,) = agent.policy.model.parameters()
    before = table.detach().clone()
    rollout = every_toy15_episode(agent)
    old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    targets = agent.learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
    slope = torch.zeros(3, 7, dtype=torch.float64)
    for row, (actions, states) in enumerate(zip(ACTIONS.tolist(), STATES.tolist(), strict=True)):
        for t, (action, state) in enumerate(zip(actions, states, strict=True)):
            if action >= 0:
                score = -before[:, state].double().softmax(dim=0)
                score[action] += 1.0
                slope[:, state] += targets.advantages[row, t] * score / 41
    matrix = dense_fisher(before) / 41 + 0.1 * torch.eye(21, dtype=torch.float64)
    natural = torch.linalg.solve(matrix, slope.flatten())
    natural = natural * (0.002 / (natural @ matrix @ natural)).sqrt()
    metrics = agent.learner.update(rollout, old, targets, np.random.default_rng(0))
    moved = (table.detach() - before).flatten()
    assert metrics["step_fraction"] == 1.0
    assert moved.tolist() == pytest.approx(natural.tolist(), abs=1e-4)
    assert 0.0 < metrics["kl_to_old"] <= 0.001
    assert metrics["surrogate_gain"] == pytest.approx(float(slope.flatten() @ natural), rel=0.2)
