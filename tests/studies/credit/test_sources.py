from __future__ import annotations

import numpy as np
import pytest
import torch

from agents import PPO, Policy, collect
from rlhf_env.exact import evaluate
from rlhf_env.exact.by_state import state_problem, state_rows
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.vector_env import RLHFVectorEnv
from studies.credit.grading import causal_tokens, episode_aucs
from studies.credit.reward_model import comparisons, learn_reward
from studies.credit.sources import (
    credits,
    exact_advantages,
    gae_advantages,
    monte_carlo_advantages,
    prefix_differences,
    sampled_values,
)
from tests.agents.episodes import make_envs
from tests.automata import as_plain_task, moved_policy, random_automaton
from tests.wrappers.episodes import as_rollout


def drawn(task: Task, episodes: int = 16) -> tuple[Policy, Rollout]:
    policy = Policy(moved_policy(task), task.vocab_size)
    return policy, collect(make_envs(task, 8), policy, episodes, seed=0)


def test_exact_advantages_are_those_of_enumeration() -> None:
    task = random_automaton(1, policy="timed_table")
    policy, rollout = drawn(task)
    values = evaluate(as_plain_task(task), policy.model, kl_coef=0.0).values
    found = exact_advantages(task, rollout, policy)
    for row, response in enumerate(rollout.responses()):
        text, score = tuple(response.tolist()), float(rollout.score[row])
        expected = [
            (values[text[: t + 1]] if t + 1 < len(text) else score) - values[text[:t]]
            for t in range(len(text))
        ]
        assert found[row][rollout.is_action[row]].tolist() == pytest.approx(expected, abs=1e-6)


def test_monte_carlo_advantages_tend_to_the_exact_ones() -> None:
    task = random_automaton(1, policy="timed_table", horizon=6)
    policy, rollout = drawn(task)
    exact = exact_advantages(task, rollout, policy)
    few, many = (monte_carlo_advantages(task, rollout, policy, k, (0,)) - exact for k in (25, 2500))
    assert few.abs().max() > 0.1
    # The spread of a score is below 1.5, so the error of a difference has one below 0.05.
    assert many.abs().max() < 0.2
    assert many.std() == pytest.approx(float(few.std()) / 10, rel=0.3)


def test_continuations_end_by_eos_or_at_the_horizon() -> None:
    task = load_task("delay-8")
    problem = state_problem(task, None)
    assert problem is not None
    rows = state_rows(problem, task.reference)
    assert rows is not None
    times, states = np.array([0, 3, 7, 7]), np.array([1, 1, 2, 0])
    found = sampled_values(problem, rows, times, states, 2000, (0,))
    # Once the first token is chosen the score is settled; before, token 1 has one in 7.02.
    assert found[:3].tolist() == [1.0, 1.0, 0.0]
    assert found[3] == pytest.approx(1 / 7.07, abs=0.03)


def test_generalized_advantages_of_the_score() -> None:
    task = load_task("needles-8")
    rollout = RLHFVectorEnv(1, task).evaluate(as_rollout(task, [(0, [1, 2, 0]), (0, [7, 0])]))
    values = torch.tensor([[0.0, 0.1, 0.3, 0.4], [0.0, 0.2, 0.1, 0.0]])
    steps = gae_advantages(rollout, values, 0.0)
    torch.testing.assert_close(steps, torch.tensor([[0, 0.2, 0.1, 0.1], [0, -0.1, -0.1, 0]]))
    whole = gae_advantages(rollout, values, 1.0)
    torch.testing.assert_close(whole, torch.tensor([[0, 0.4, 0.2, 0.1], [0, -0.2, -0.1, 0]]))
    half = gae_advantages(rollout, values, 0.5)
    torch.testing.assert_close(half, torch.tensor([[0, 0.275, 0.15, 0.1], [0, -0.15, -0.1, 0]]))


def test_a_reward_model_learns_what_is_scored() -> None:
    task = load_task("needles-8")
    rollout = collect(make_envs(task, 64), Policy(task.reference, 8), 400, seed=0)
    model, accuracy = learn_reward(rollout, 8, seed=0)
    assert accuracy > 0.75
    fresh = collect(make_envs(task, 64), Policy(task.reference, 8), 64, seed=1)
    credit = prefix_differences(model, fresh)
    aucs = episode_aucs(credit, causal_tokens(task, fresh), fresh.is_action)
    assert sum(aucs) / len(aucs) > 0.6


def test_pairs_hold_the_better_response_first() -> None:
    task = load_task("needles-8")
    texts = [[1, 0], [7, 0], [7, 0], [7, 0], [1, 2, 0], [6, 0]]
    rollout = RLHFVectorEnv(1, task).evaluate(as_rollout(task, [(0, ids) for ids in texts]))
    found = [[ids.tolist() for ids in element.responses] for element in comparisons(rollout)]
    assert found == [[[1, 0], [7, 0]], [[1, 2, 0], [7, 0]]]


def test_too_few_pairs_are_refused() -> None:
    task = load_task("needles-8")
    rollout = collect(make_envs(task, 8), Policy(task.reference, 8), 8, seed=0)
    with pytest.raises(ValueError, match="at least 10 times to learn from, got"):
        learn_reward(rollout, 8, seed=0)


def test_every_source_credits_the_tokens_of_the_response_alone() -> None:
    task = load_task("needles-8", policy="timed_table")
    envs = make_envs(task, 16)
    compared = collect(envs, Policy(task.reference, 8), 100, seed=0)
    model, _ = learn_reward(compared, 8, seed=0)
    agent = PPO(envs, gamma={"score": 1.0, "kl": 1.0}, episodes_per_update=16, seed=0)
    agent.update(agent.collect())
    rollout = collect(envs, agent.policy, 16, seed=2)
    found = credits(agent, rollout, model, gae_lambdas=(0.95,), continuations=(2,), seed=(0,))
    assert len(found) == 8
    for name, given in found.items():
        assert given.shape == rollout.tokens.shape, name
        assert given.isfinite().all() and not given[~rollout.is_action].any(), name
        assert given.any(), name
