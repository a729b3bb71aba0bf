"""A stack of agents: each learns what it would learn alone, to the last bit."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import (
    DAPO,
    GRPO,
    GSPO,
    OREO,
    PCL,
    PPO,
    RLOO,
    TRPO,
    AStarPO,
    DrGRPO,
    Reinforce,
    TrajectoryBalance,
    train,
)
from agents.agent import Agent
from agents.stacked.evaluation import evaluate_stack
from agents.stacked.stack import Stack
from agents.stacked.stackable import why_not_stackable
from rlhf_env import load_task
from rlhf_env.tasks import table_task
from tests.agents.runs import assert_equal, weights, without_time
from wrappers import vector

UPDATES = 3
KINDS: dict[str, tuple[type[Agent], dict[str, Any]]] = {
    "ppo": (PPO, {"epochs": 2, "minibatches": 2}),
    "ppo_value_clip": (PPO, {"value_clip_range": 0.2, "whiten_rewards": True}),
    "ppo_temperature": (PPO, {"temperature": 0.7, "epochs": 2, "minibatches": 2}),
    "grpo": (GRPO, {"group_size": 4}),
    "grpo_steps": (GRPO, {"group_size": 4, "epochs": 2, "minibatches": 2}),
    "dr_grpo": (DrGRPO, {"group_size": 4}),
    "gspo": (GSPO, {"group_size": 4}),
    "rloo": (RLOO, {"group_size": 4}),
    "reinforce": (Reinforce, {}),
    "reinforce_none": (Reinforce, {"baseline": "none"}),
    "reinforce_value": (Reinforce, {"baseline": "value"}),
    "reinforce_greedy": (Reinforce, {"baseline": "greedy"}),
}
# One agent for each: all differ in every setting that may differ.
DIFFERING = [
    {"gamma": 0.9, "learning_rate": 0.05, "kl_coef": 0.5, "seed": 0},
    {"gamma": 1.0, "learning_rate": 0.02, "kl_coef": 0.1, "seed": 1},
    {"gamma": 0.5, "learning_rate": 0.1, "kl_coef": None, "seed": 2, "entropy_coef": 0.01},
    {"gamma": 0.9, "learning_rate": 0.05, "kl_coef": 0.0, "seed": 3, "max_grad_norm": 0.1},
    {"gamma": 0.8, "learning_rate": 0.05, "kl_target": 0.5, "kl_horizon": 64, "seed": 4},
]


def environments(task: Any) -> list[gym.vector.VectorEnv[Any, Any, Any]]:
    """Return one of each kind: densities and granularities."""

    def envs() -> Any:
        return gym.make_vec("RLHF-v0", num_envs=4, task=task)

    return [
        envs(),
        vector.EveryK(envs(), k=2),
        vector.SequenceBandit(envs()),
        vector.PotentialShaping(vector.MacroAction(envs(), n=2), gamma=0.9),
        vector.PrefixDifference(envs()),
    ]


def agents(kind: str, task: Any, count: int = len(DIFFERING)) -> list[Agent]:
    made, settings = KINDS[kind]
    places = environments(task)
    return [
        made(envs, **{"episodes_per_update": 16, **settings, **own})
        for envs, own in zip(places[:count], DIFFERING[:count], strict=True)
    ]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.filterwarnings("ignore:.*discount")
def test_each_agent_of_a_stack_learns_what_it_learns_alone(kind: str) -> None:
    task = load_task("toy15")
    together, alone = agents(kind, task), agents(kind, task)
    stack = Stack(together)
    first = stack.collect()
    for run, agent in enumerate(alone):
        own = agent.collect()
        rows = first.tokens[16 * run : 16 * (run + 1), : own.tokens.shape[1]]
        assert torch.equal(rows, own.tokens)
    found = [stack.learn_once() for _ in range(UPDATES)]
    for run, agent in enumerate(alone):
        expected = train(agent, agent.envs, UPDATES * 16, progress=False)
        assert_equal(weights(together[run]), weights(agent))
        assert together[run].updates == agent.updates
        assert together[run].kl_coef == agent.kl_coef
        for update, row in zip(found, without_time(expected), strict=True):
            assert update.keys() == row.keys() - {"update", "episodes"}
            for name, values in update.items():
                assert float(values[run]) == pytest.approx(row[name], abs=1e-5), name


@pytest.mark.parametrize("policy", ["table", "timed_table"])
@pytest.mark.parametrize("kind", ["ppo", "grpo", "reinforce_value"])
@pytest.mark.filterwarnings("ignore:.*discount")
def test_tables_of_automaton_states_learn_the_same(kind: str, policy: str) -> None:
    task = load_task("delay-12", policy=policy)
    together, alone = agents(kind, task, 4), agents(kind, task, 4)
    stack = Stack(together)
    for _ in range(3):
        stack.learn_once()
    for one, other in zip(together, alone, strict=True):
        train(other, other.envs, 3 * 16, progress=False)
        assert_equal(weights(one), weights(other))


@pytest.mark.filterwarnings("ignore:.*discount")
def test_transformers_learn_the_same_up_to_rounding() -> None:
    task = load_task("chain-6", policy="transformer")
    together, alone = agents("ppo", task, 3), agents("ppo", task, 3)
    stack = Stack(together)
    first = stack.collect().tokens
    assert torch.equal(first[16:32], alone[1].collect().tokens)
    for _ in range(3):
        stack.learn_once()
    for one, other in zip(together, alone, strict=True):
        train(other, other.envs, 3 * 16, progress=False)
        for mine, theirs in zip(weights(one), weights(other), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0.0)


@pytest.mark.filterwarnings("ignore:.*discount")
def test_the_evaluation_of_a_stack_is_that_of_each_agent() -> None:
    stack = Stack(agents("ppo", load_task("toy15")))
    stack.learn_once()
    found = evaluate_stack(stack, episodes=32)
    for agent, figures in zip(stack.agents, found, strict=True):
        assert figures == pytest.approx(agent.evaluate(32), abs=1e-6)


def test_an_agent_can_be_trained_on_alone_after_the_stack() -> None:
    task = load_task("toy15")
    together, alone = agents("ppo", task, 1)[0], agents("ppo", task, 1)[0]
    stack = Stack([together, *agents("ppo", task, 2)[1:]])
    stack.learn_once()
    for agent, updates in ((together, 2), (alone, 3)):
        for _ in range(updates):
            agent.update(agent.collect())
    assert_equal(weights(together), weights(alone))


def test_an_agent_that_fails_leaves_the_others_as_they_are() -> None:
    task = load_task("toy15")
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=task)

    def make() -> list[Agent]:
        settings: dict[str, Any] = {"episodes_per_update": 16, "epochs": 2, "minibatches": 2}
        rates = [0.05, 3e37, 0.02]
        return [PPO(envs, learning_rate=rate, seed=i, **settings) for i, rate in enumerate(rates)]

    together, alone = make(), make()
    stack = Stack(together)
    for _ in range(3):
        stack.learn_once()
    with pytest.raises(ValueError, match="the weights are unchanged") as raised:
        alone[1].learn(3 * 16, progress=False)
    assert stack.numbers == [0, 2]
    assert str(stack.failures[1]) == str(raised.value)
    for run in (0, 2):
        alone[run].learn(3 * 16, progress=False)
        assert_equal(weights(together[run]), weights(alone[run]))


def test_rewards_that_overflow_fail_the_agent_that_is_paid_them() -> None:
    tasks = [
        table_task(3, 2, lambda _: [0.0] * 3, lambda t, scale=scale: scale * len(t), name="one")
        for scale in (1.0, 1e30)
    ]
    made = [PPO(gym.make_vec("RLHF-v0", num_envs=4, task=t), seed=1) for t in tasks]
    stack = Stack(made)
    stack.learn_once()
    assert stack.numbers == [0]
    assert "must add up to at most" in str(stack.failures[1])


def test_a_stack_of_agents_that_all_failed_finds_nothing_more() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=4, task="toy15")
    stack = Stack([PPO(envs, learning_rate=3e37, seed=seed) for seed in range(2)])
    for _ in range(2):
        stack.learn_once()
    assert stack.learn_once() == {}
    assert sorted(stack.failures) == [0, 1]


def test_agents_of_different_kinds_are_refused() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=4, task="toy15")
    with pytest.raises(ValueError, match="one class, task and model"):
        Stack([PPO(envs), Reinforce(envs)])
    with pytest.raises(ValueError, match="one value of each"):
        Stack([PPO(envs, clip_range=0.2), PPO(envs, clip_range=0.3)])


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (TRPO, {}, "TRPO"),
        (DAPO, {}, "dynamic_sampling"),
        (PPO, {"critic": "separate"}, "critic is 'separate'"),
        (PPO, {"precision": "bf16"}, "precision is 'bf16'"),
        (PPO, {"importance": "token", "staleness": 1}, "is"),
        (PCL, {}, "its loss"),
        (TrajectoryBalance, {}, "its loss"),
        (OREO, {}, "its loss"),
        (AStarPO, {}, "its loss"),
    ],
)
def test_what_cannot_be_stacked_is_named(
    kind: type[Agent], settings: dict[str, Any], words: str
) -> None:
    agent = kind(gym.make_vec("RLHF-v0", num_envs=4, task="toy15"), **settings)
    reason = why_not_stackable(agent)
    assert reason is not None and words in reason
    with pytest.raises(ValueError, match="must be stackable"):
        Stack([agent])


def test_language_models_are_not_stacked() -> None:
    agent = PPO(gym.make_vec("RLHF-v0", num_envs=4, task="reviews"))
    assert "neither a table" in (why_not_stackable(agent) or "")
