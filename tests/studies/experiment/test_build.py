from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import PPO
from agents.settings import BUILT_IN_AGENTS
from rlhf_env import exact, load_task
from rlhf_env.task import Task
from studies.ablation.exact_curve import ExactCurve, exact_frontier
from studies.ablation.execute import execute
from studies.experiment.agent_names import agent_fields
from studies.experiment.axes import Axes
from studies.experiment.build import make_envs, make_task
from studies.experiment.checks import check_grid
from studies.experiment.grid import Budget, RunSettings
from tests.dialogues import silent
from tests.rlhf_env.exact.test_dialogue_tree import risk


def make_run(**changes: object) -> RunSettings:
    fields = {
        "agent": "ppo",
        "gamma": 0.9,
        "density": "terminal",
        "granularity": "token",
        "gae_lambda": 0.95,
        "kl_coef": None,
        "group_size": None,
        "seed": 0,
        "budget": Budget(updates=2, episodes_per_update=8, eval_episodes=16),
    }
    return RunSettings(**{**fields, **changes})  # type: ignore[arg-type]


def lines() -> Task:
    """Somebody's task, in which 2 ends a line."""
    return dataclasses.replace(
        load_task("toy15"),
        end_of_turn_id=2,
        step_scores=lambda prompts, histories: torch.tensor([float(len(h)) for h in histories]),
    )


class Uniform:
    """Somebody's own agent: it chooses every token with the same probability."""

    def __init__(self, envs: object, *, gamma: float, seed: int, learning_rate: float) -> None:
        self.generator = np.random.default_rng(seed)
        self.settings = (gamma, learning_rate)

    def act(self, observation: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        count = len(observation["input_ids"])
        return self.generator.integers(3, size=count), np.full(count, -1.098612)

    def update(self, rollout: object) -> dict[str, float]:
        return {"gamma": self.settings[0], "learning_rate": self.settings[1]}


@pytest.mark.parametrize(
    ("density", "wrappers"),
    [
        ("process", ["VectorMacroAction", "VectorProcessReward"]),
        ("process_raw", ["VectorMacroAction", "VectorRawProcessReward"]),
        ("process_potential", ["VectorProcessPotential", "VectorMacroAction"]),
    ],
)
def test_turns_are_paid_inside_the_granularity_and_shaped_outside(
    density: str, wrappers: list[str]
):
    envs = make_envs(make_run(density=density, granularity="turn"), lines())
    assert [type(envs).__name__, type(envs.env).__name__] == wrappers
    assert getattr(envs, "shaping_gamma", None) == (0.9 if "potential" in density else None)


def test_a_game_that_can_be_enumerated_has_a_curve_of_its_regret():
    task = risk()
    found = ExactCurve.of(task, 0.3, updates=1)
    assert found.landmarks["optimum"] == pytest.approx(exact.solve(task, 0.3).objective)
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=task, kl_coef=0.3)
    measured = found.measure(PPO(envs, episodes_per_update=4))
    assert measured["objective"] == pytest.approx(found.reference, abs=1e-6)
    assert measured["regret"] > 0.1
    opaque = dataclasses.replace(task, respond=silent)
    assert ExactCurve.of(opaque, 0.3, updates=1).task is None


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"density": ("terminal", "process")}, {"task": "toy15"}),
        ({"granularity": ("turn",)}, {"task": "reviews"}),
        ({"density": ("process_raw",)}, {"task": "delay-8"}),
    ],
)
def test_turns_where_there_are_none_are_refused_before_the_grid(changes: dict, task: dict):
    what = next(iter(changes.values()))[-1]
    with pytest.raises(ValueError, match=f"{what} needs a task with turns, got '{task['task']}'"):
        check_grid(Axes(**changes), Budget(**task))


@pytest.mark.parametrize(
    ("density", "wrappers"),
    [
        ("every_2", ["VectorMacroAction", "VectorEveryK"]),
        ("implicit", ["VectorMacroAction", "VectorImplicitReward"]),
        ("potential", ["VectorPotentialShaping", "VectorMacroAction"]),
    ],
)
def test_the_density_is_inside_the_granularity_and_shaping_outside(
    density: str, wrappers: list[str]
):
    envs = make_envs(make_run(density=density, granularity="macro_2"), load_task("toy15"))
    assert [type(envs).__name__, type(envs.env).__name__] == wrappers
    assert envs.num_envs == 8


def test_the_coefficient_of_a_run_reaches_the_environment():
    envs = make_envs(make_run(kl_coef=0.25), load_task("toy15"))
    assert envs.unwrapped.kl_coef == 0.25


def test_an_untrained_agent_is_worth_what_the_reference_is():
    task = load_task("toy15")
    agent = PPO(make_envs(make_run(), task))
    found = ExactCurve.of(task, 0.5, updates=100).measure(agent)
    assert found["objective"] == pytest.approx(0.039595, abs=1e-6)
    assert found["j_ratio"] == pytest.approx(0.035186, abs=1e-6)
    assert found["regret"] == pytest.approx(1.085700, abs=1e-6)


def test_the_frontier_passes_through_the_known_optima():
    points = exact_frontier(load_task("toy15"))
    kl, score = ([point[name] for point in points] for name in ("kl", "score"))
    assert kl == sorted(kl)
    assert np.interp(2.501086, kl, score) == pytest.approx(2.375837, abs=2e-3)
    assert np.interp(0.553378, kl, score) == pytest.approx(1.052379, abs=2e-3)


@pytest.mark.parametrize("agent", ["ppo", "grpo"])
@pytest.mark.parametrize("granularity", ["token", "bandit"])
@pytest.mark.parametrize("density", ["terminal", "every_k", "potential"])
def test_every_combination_runs(agent: str, granularity: str, density: str):
    own = {"gae_lambda": None, "group_size": 4} if agent == "grpo" else {}
    run = make_run(agent=agent, granularity=granularity, density=density, **own)
    found = execute(run)
    assert [point["update"] for point in found.curve] == [1, 2]
    assert {"score", "kl", "entropy", "response_length", "j_ratio"} <= set(found.curve[-1])
    assert {"score", "kl", "regret", "win_rate"} <= set(found.row)
    before, after = found.samples
    assert (before["stage"], after["stage"]) == ("before", "after")
    assert len(before["tokens"]) == len(before["advantages"])


@pytest.mark.parametrize("agent", sorted(BUILT_IN_AGENTS.keys() - {"ppo", "grpo"}))
def test_every_agent_runs(agent: str):
    fields = agent_fields(agent)
    budget = Budget(updates=1, episodes_per_update=8, eval_episodes=8)
    run = make_run(
        agent=agent,
        gamma=0.9 if "gamma" in fields else None,
        gae_lambda=0.9 if "gae_lambda" in fields else None,
        # An opponent writes one response of two.
        group_size=(2 if agent in ("nash_md", "xpo") else 4) if "group_size" in fields else None,
        budget=budget,
    )
    found = execute(run)
    assert {"score", "kl", "j_ratio"} <= set(found.row)
    assert len(found.curve) == 1


@pytest.mark.parametrize("granularity", ["macro_punctuation", "macro_space_led", "macro_entropy_1"])
@pytest.mark.parametrize("density", ["terminal", "potential"])
def test_every_boundary_runs(granularity: str, density: str):
    found = execute(make_run(granularity=granularity, density=density))
    assert -1.5 <= found.row["score"] <= 3.0
    assert [point["update"] for point in found.curve] == [1, 2]


@pytest.mark.parametrize("agent", ["ppo", "grpo"])
def test_the_kl_may_stand_in_the_loss(agent: str):
    own = {"gae_lambda": None, "group_size": 4} if agent == "grpo" else {}
    rows = {
        placement: execute(
            make_run(agent=agent, kl_placement=placement, kl_estimator="k1", kl_coef=0.5, **own)
        ).row["objective"]
        for placement in ("reward", "loss")
    }
    assert rows["reward"] != rows["loss"]


def test_a_run_is_repeatable():
    assert execute(make_run()).row == execute(make_run()).row
    assert execute(make_run()).row != execute(make_run(seed=1)).row


def test_a_learning_rate_of_0_changes_nothing():
    budget = Budget(updates=2, episodes_per_update=8, eval_episodes=16, learning_rate=0.0)
    assert execute(make_run(budget=budget)).row["objective"] == pytest.approx(0.039595, abs=1e-6)


def test_no_updates_leave_the_reference():
    budget = Budget(updates=0, episodes_per_update=8, eval_episodes=16)
    found = execute(make_run(budget=budget))
    assert found.row["objective"] == pytest.approx(0.039595, abs=1e-6)
    assert found.curve == []


@pytest.mark.parametrize("changes", [{"density": "every_4"}, {"granularity": "macro_4"}])
def test_more_tokens_than_somebodys_task_allows_are_refused(changes: dict):
    budget = Budget(task="rlhf_env.tasks.toy15:toy15_task", updates=1, episodes_per_update=8)
    with pytest.raises(ValueError, match=r"at most the task's 3 tokens"):
        execute(make_run(budget=budget, **changes))


def test_what_is_no_task_is_refused():
    with pytest.raises(ValueError, match=r"task must return a rlhf_env.Task, got a int"):
        make_task("tests.studies.toy_runs:not_a_task")


def test_paying_prefix_differences_is_paying_every_token():
    first, second = (execute(make_run(density=d)).row for d in ("prefix_difference", "every_1"))
    assert first == second


def test_gamma_does_not_matter_to_a_bandit():
    runs = [
        make_run(gamma=gamma, granularity="bandit", density="potential") for gamma in (0.5, 1.0)
    ]
    first, second = (execute(run).row["score"] for run in runs)
    assert first == second


def test_somebodys_agent_gets_the_settings_that_it_takes():
    run = make_run(agent="tests.studies.experiment.test_build:Uniform", gae_lambda=None)
    found = execute(run)
    assert found.curve[0]["gamma"] == 0.9
    assert found.curve[0]["learning_rate"] == 0.05
    assert found.curve[1]["episodes"] == 16
    assert "score" in found.row
    assert [sample["stage"] for sample in found.samples] == ["before", "after"]
    for sample in found.samples:
        assert len(sample["tokens"]) == len(sample["kl"]) >= 1
