from __future__ import annotations

import pytest

from agents import GRPO, PPO
from agents.evaluation.exact import exact_metrics
from agents.policy import Policy
from agents.rollouts.collect import collect
from rlhf_env.exact import evaluate, solve
from rlhf_env.task import Task
from rlhf_env.tasks import automaton_task, load_task
from tests.agents.episodes import make_envs
from tests.automata import moved_policy
from tests.toys import theta_policy, tiny_llama_task

EXACT = {"regret", "regret_se", "j_ratio"}


def test_an_agent_reports_its_regret_at_a_horizon_that_nobody_enumerates() -> None:
    task = load_task("delay-64")
    model = moved_policy(task)
    agent = GRPO(make_envs(task, 64), policy=model, episodes_per_update=8, group_size=4)
    found = agent.evaluate(512)
    best = solve(task, 0.05).objective
    expected = best - evaluate(task, model, 0.05).objective
    assert abs(found["regret"] - expected) < 3.5 * found["regret_se"]
    assert found["j_ratio"] == pytest.approx(1 - found["regret"] / best)


def test_tasks_that_are_enumerated_have_it_too(toy15: Task) -> None:
    model = theta_policy(toy15)
    agent = PPO(make_envs(toy15, 64), policy=model, episodes_per_update=8)
    found = agent.evaluate(1024)
    # J* of toy15 and J of theta, as in `tests.rlhf_env.exact.test_solution`.
    assert abs(found["regret"] - (1.125295 - 0.113463)) < 3.5 * found["regret_se"]


def test_it_is_left_out_where_it_would_mean_something_else(toy15: Task) -> None:
    assert (
        not EXACT & PPO(make_envs(tiny_llama_task(), 4), episodes_per_update=4).evaluate(4).keys()
    )
    for options in ({"length_limit": "penalize"}, {"max_new_tokens": 2}, {"kl_coef": 0.0}):
        agent = PPO(make_envs(toy15, 4, **options), episodes_per_update=4)
        assert not EXACT & agent.evaluate(4).keys()
    warm = PPO(make_envs(toy15, 4), episodes_per_update=4, temperature=0.7)
    assert not EXACT & warm.evaluate(4).keys()


def test_optima_of_prompts_are_averaged() -> None:
    task = automaton_task([[0, 0], [1, 1]], [[0.0, 0.0]] * 2, [1.0, 3.0], 2, start=[0, 1])
    policy = Policy(task.reference, 2)
    rollout = collect(make_envs(task, 4), policy, 4, seed=0, prompts=task.prompts)
    found = exact_metrics(rollout, task, policy, 0.1)
    assert found == pytest.approx({"regret": 0.0, "regret_se": 0.0, "j_ratio": 1.0}, abs=1e-9)
    worse = exact_metrics(rollout, task, Policy(moved_policy(task), 2), 0.1)
    assert worse["j_ratio"] == pytest.approx(1 - worse["regret"] / 2.0)
