"""The trust region: its curvature, its direction, its line search, and what the critic may not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

import agents.fisher
from agents import PPO, TRPO, TRPOConfig
from agents.conjugate_gradient import conjugate_gradient, step_scale
from agents.fisher import summed_fisher_product, summed_kl
from agents.run_log import read_metrics
from rlhf_env.language_model import LanguageModel
from rlhf_env.task import Task
from rlhf_env.tasks import load_task, table_task
from tests.agents.episodes import as_bandit, every_toy15_episode, make_envs
from tests.agents.runs import assert_equal, make_agent, weights, without_time
from tests.rlhf_env.toy15_tables import ACTIONS, STATES
from tests.toys import theta_policy, tiny_gpt2_task, tiny_llama_task
from wrappers.vector import SequenceBandit

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
    monkeypatch.setattr(agents.fisher, "_CHUNK_ELEMENTS", chunk)
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
    old = agent.policy.describe_all(rollout.tokens, rollout.is_action)
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


@pytest.mark.parametrize(("bend", "tries"), [(-1.0, 10), (-1.0, 0), (1e4, 3)])
def test_a_bad_direction_leaves_the_policy_as_it_was(
    bend: float, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap G3: uphill, or far too long for so few tries."""
    agent = toy_agent(max_backtracks=tries)
    found = agent.learner._longest_step
    monkeypatch.setattr(agent.learner, "_longest_step", lambda *given: bend * found(*given))
    (table,) = agent.policy.model.parameters()
    before = table.detach().clone()
    metrics = agent.update(every_toy15_episode(agent))
    assert torch.equal(before, table)
    assert metrics["line_search_failed"] == 1.0
    for name in ("step_fraction", "kl_to_old", "surrogate_gain"):
        assert metrics[name] == 0.0
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-6)


def test_a_step_that_is_too_long_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = toy_agent(max_kl=0.01)
    found = agent.learner._longest_step
    monkeypatch.setattr(agent.learner, "_longest_step", lambda *given: 10.0 * found(*given))
    metrics = agent.update(every_toy15_episode(agent))
    assert metrics["step_fraction"] in (0.125, 0.0625)
    assert metrics["line_search_failed"] == 0.0
    assert 0.001 < metrics["kl_to_old"] <= 0.01


def test_a_search_that_is_interrupted_leaves_the_policy_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = toy_agent()
    before = weights(agent)

    def interrupt(*_: Any) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.trust_region_learner.summed_kl", interrupt)
    with pytest.raises(KeyboardInterrupt):
        agent.update(every_toy15_episode(agent))
    assert_equal(before, weights(agent))


def test_the_kl_of_a_decision_is_the_sum_of_its_tokens() -> None:
    """The same step on the same episodes, per token and per whole response."""
    found = {}
    for name in ("token", "response"):
        agent = toy_agent(max_kl=0.01)
        episodes = every_toy15_episode(agent)
        agent.update(episodes if name == "token" else as_bandit(episodes))
        acted = LanguageModel(theta_policy(load_task("toy15")), 3)
        found[name] = float(summed_kl(acted, agent.policy.lm, episodes, 1.0))
    assert 0.002 * 41 < found["token"] <= 0.01 * 41
    assert 0.002 * 15 < found["response"] <= 0.01 * 15


def test_two_kls_of_two_policies() -> None:
    """Trap G4: to the reference it is "kl", to the policy that acted "kl_to_old"."""
    agent = toy_agent(episodes_per_update=64, max_kl=1e-4)
    metrics = agent.learn(64, progress=False)[0]
    assert 0.0 < metrics["kl_to_old"] <= 1e-4
    assert abs(metrics["kl"]) > 1e-3


def test_the_critic_never_moves_the_policy() -> None:
    """Trap G5 too: the critic's steps of Adam are counted."""
    agent = TRPO(make_envs(tiny_gpt2_task(), 8), episodes_per_update=16, max_kl=0.0)
    before = [p.detach().clone() for p in agent.policy.model.parameters()]
    metrics = agent.learn(16, progress=False)[0]
    assert_equal(before, [p.detach() for p in agent.policy.model.parameters()])
    assert agent.policy.value_head.weight.abs().sum() > 0
    assert metrics["optimizer_steps"] == 16.0
    assert metrics["line_search_failed"] == 1.0
    assert all(p.requires_grad for p in agent.policy.parameters())


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_resumed_run_is_the_uninterrupted_run(critic: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"critic": critic, "cg_iterations": 2}
    whole = make_agent(TRPO, **settings)
    whole.learn(16, log_dir=tmp_path / "whole", progress=False)
    make_agent(TRPO, **settings).learn(8, log_dir=tmp_path / "parts", progress=False)
    resumed = make_agent(TRPO, **settings)
    resumed.learn(16, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert len(runs[0]) == 2
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_it_runs_on_whole_responses_with_a_discount_per_term() -> None:
    agent = TRPO(
        SequenceBandit(make_envs(tiny_gpt2_task(), 8)),
        episodes_per_update=16,
        gamma={"score": 1.0, "kl": 0.9},
        entropy_coef=0.01,
    )
    metrics = agent.learn(16, progress=False)[-1]
    assert 0.0 < metrics["kl_to_old"] <= 0.01
    assert metrics["surrogate_gain"] > 0


def test_rewards_that_are_no_numbers_stop_before_the_step() -> None:
    agent = toy_agent()
    before = weights(agent)
    rollout = every_toy15_episode(agent)
    spoilt = rollout.with_term("score", torch.full_like(rollout.rewards, torch.nan))
    with pytest.raises(ValueError, match=r"the loss of episode \d+ is nan"):
        agent.update(spoilt)
    assert_equal(before, weights(agent))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_kl": -0.1}, "max_kl must be a finite number >= 0, got -0.1"),
        ({"damping": 0.0}, "damping must be a finite number greater than 0, got 0.0"),
        ({"cg_iterations": 0}, "cg_iterations must be an integer >= 1, got 0"),
        ({"backtrack_factor": 1.0}, r"backtrack_factor must be a number in \[1e-06, 0.999999\]"),
        ({"ptx_coef": 0.1}, "a trust region knows no pretraining loss, got ptx_coef = 0.1"),
        ({"precision": "bf16"}, "got precision = 'bf16'; use 'fp32'"),
        ({"gae_lambda": 2}, r"gae_lambda must be a number in \[0, 1\], got 2"),
    ],
)
def test_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRPOConfig(**changes)


def test_what_has_no_surrogate_is_refused(toy15: Task) -> None:
    rule = PPO(make_envs(toy15)).learner.algorithm
    with pytest.raises(ValueError, match="algorithm must have surrogate"):
        TRPO(make_envs(toy15), algorithm=rule)
    with pytest.raises(ValueError, match="no trainable weight"):
        TRPO(make_envs(toy15), policy=theta_policy(toy15).requires_grad_(False))
