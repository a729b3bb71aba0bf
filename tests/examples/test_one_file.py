"""PPO and GRPO in one file: their formulas, and the library's result on toy15."""

from __future__ import annotations

import ast
from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import GRPO, PPO
from rlhf_env import exact
from rlhf_env.task import Task
from tests.examples.load import FOLDER, example

BUDGET = 3200


@pytest.mark.parametrize("name", ["ppo_one_file", "grpo_one_file"])
def test_nothing_is_taken_from_the_agents(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert "gymnasium" in modules
    assert not {module for module in modules if module.split(".")[0] in ("agents", "studies")}


def test_advantages_of_rows_that_end_and_go_on() -> None:
    """By hand, with γ = 0.5 and λ = 0.5.

    Row 0 ends at its second step: δ = 1 + 0.5·4 − 2 = 1, 3 − 4 = −1, and 2 + 0.5·8 − 6 = 0, so
    A = 1 + 0.25·(−1), −1, 0. Row 1 goes on to the end: δ = 0.5, 0.5, 0.5 with values of 1 and
    rewards of 1, so A = 0.5 + 0.25·0.625, 0.5 + 0.25·0.5, 0.5.
    """
    rewards = torch.tensor([[1.0, 1.0], [3.0, 1.0], [2.0, 1.0]])
    values = torch.tensor([[2.0, 1.0], [4.0, 1.0], [6.0, 1.0], [8.0, 1.0]])
    ends = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    found = example("ppo_one_file").generalized_advantages(rewards, values, ends, 0.5, 0.5)
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.65625], [-1.0, 0.625], [0.0, 0.5]]))


def test_advantages_of_groups() -> None:
    """Groups (1, 3) and (5, 5): deviations √2 and 0."""
    found = example("grpo_one_file").group_advantages(torch.tensor([1.0, 3.0, 5.0, 5.0]), 2)
    torch.testing.assert_close(
        found, torch.tensor([-0.70711, 0.70711, 0.0, 0.0]), atol=1e-4, rtol=0
    )


def library(agent: type[PPO] | type[GRPO], task: Task, **settings: Any) -> float:
    """Return J / J* of one of our agents after the same number of episodes."""
    envs = gym.make_vec("RLHF-v0", num_envs=32, task=task)
    learner = agent(envs, episodes_per_update=32, seed=0, **settings)
    learner.learn(BUDGET, progress=False)
    reached = exact.evaluate(task, learner, task.kl_coef).objective
    return reached / exact.solve(task, task.kl_coef).objective


def test_grpo_reaches_the_result_of_the_library(toy15: Task) -> None:
    one_file = example("grpo_one_file")
    reached = one_file.main(one_file.Settings(episodes=BUDGET))
    theirs = library(GRPO, toy15, learning_rate=one_file.Settings.learning_rate, group_size=8)
    assert reached == pytest.approx(theirs, rel=0.02)
    assert reached > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppo_reaches_the_result_of_the_library(seed: int, toy15: Task) -> None:
    one_file = example("ppo_one_file")
    reached = one_file.main(one_file.Settings(episodes=BUDGET, seed=seed))
    theirs = library(PPO, toy15, learning_rate=one_file.Settings.learning_rate, gae_lambda=0.95)
    assert reached == pytest.approx(theirs, rel=0.02)
    assert reached > 0.95


def test_ppo_learns_in_a_fifth_of_the_budget(toy15: Task) -> None:
    """The reference has J / J* = 0.035."""
    one_file = example("ppo_one_file")
    assert one_file.main(one_file.Settings(episodes=640)) > 0.6


def test_both_write_reviews_too() -> None:
    """A transformer in place of a table, prompts of several tokens, episodes of any length."""
    ppo, grpo = example("ppo_one_file"), example("grpo_one_file")
    task = ppo.rlhf_env.load_task("reviews")
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=task, autoreset_mode="SameStep")
    agent = ppo.ActorCritic(task.reference)
    before = [weight.clone() for weight in agent.parameters()]
    ppo.train(envs, agent, ppo.Settings(episodes=1, rows=4, steps=16, learning_rate=1e-3))
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.parameters(), strict=True))

    envs = gym.make_vec("RLHF-v0", num_envs=4, task=task)
    envs.reset(seed=0)
    rollout = grpo.collect(envs, task.reference, torch.tensor([5, 9]), group_size=2)
    prompts = rollout["input_ids"][0, :, : len(task.prompts[5])]
    assert torch.equal(prompts[0], task.prompts[5])
    assert torch.equal(prompts[0], prompts[1])
    assert torch.equal(prompts[3], task.prompts[9])
    # The policy is the reference, so both halves of the KL penalty cancel but at the last step.
    is_last = rollout["is_open"] & ~torch.cat(
        [rollout["is_open"][1:], torch.zeros(1, 4, dtype=torch.bool)]
    )
    assert rollout["reward"][~is_last].abs().max() < 1e-5
    assert (rollout["reward"][is_last] != 0).all()
