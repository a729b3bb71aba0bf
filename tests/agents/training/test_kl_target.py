"""A KL coefficient that is steered: trap D9's numbers through an agent, and the unit by name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from agents import PPO, Agent
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.runs import make_agent
from tests.toys import tiny_gpt2_task


def steered(task: Task, unit: str = "sequence", target: float = 6.0) -> tuple[Agent, Rollout]:
    """An agent that pays no KL in the reward, so that any KL can be shown to it; 256 episodes."""
    agent = PPO(
        make_envs(task, 64, kl_coef=0.2),
        episodes_per_update=256,
        learning_rate=0.0,
        epochs=1,
        minibatches=1,
        kl_placement="loss",
        kl_estimator="k2",
        kl_target=target,
        kl_target_unit=unit,
        kl_horizon=10_000,
    )
    return agent, agent.collect()


def with_kl(rollout: Rollout, kl: float) -> Rollout:
    """The same episodes, all of whose log-ratio stands at the first token."""
    first = rollout.is_action.int().argmax(dim=1)
    moved = rollout.ref_logprobs.clone()
    moved[torch.arange(len(rollout)), first] += kl
    return rollout.replace(logprobs=moved)


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (9.0, 0.201024),
        (3.0, 0.198976),
        (6.3, 0.200256),
        (6.0, 0.2),
        (-5.0, 0.198976),
        (0.0, 0.198976),
        (math.inf, 0.201024),
    ],
)
def test_one_step_of_the_controller(toy15: Task, observed: float, expected: float) -> None:
    """Trap D9; what is logged is the coefficient that the rollout was paid with."""
    agent, rollout = steered(toy15)
    metrics = agent.update(with_kl(rollout, observed))
    assert agent.kl_coef == pytest.approx(expected, abs=1e-6)
    assert metrics["kl_coef"] == 0.2


def test_a_kl_that_is_no_number_changes_nothing(toy15: Task) -> None:
    """Trap D9."""
    agent, rollout = steered(toy15)
    with pytest.raises(ValueError, match="observed KL must be a number, got nan"):
        agent.update(with_kl(rollout, math.nan))
    assert agent.kl_coef == 0.2


def test_the_unit_of_the_target(toy15: Task) -> None:
    """Trap D7: 0.3 nats per response are fewer per token."""
    agent, rollout = steered(toy15, "token", target=0.3)
    agent.update(with_kl(rollout, 0.3))
    assert rollout.is_action.sum() > 1.25 * len(rollout)
    assert agent.kl_coef == pytest.approx(0.198976, abs=1e-6)
    agent, rollout = steered(toy15, "sequence", target=0.3)
    agent.update(with_kl(rollout, 0.3))
    assert agent.kl_coef == pytest.approx(0.2, abs=1e-6)


def test_a_coefficient_of_zero_cannot_be_steered(toy15: Task) -> None:
    message = "kl_target multiplies the KL coefficient, which is 0 and would stay so; set kl_coef"
    with pytest.raises(ValueError, match=message):
        PPO(make_envs(toy15, kl_coef=0.0), kl_target=1.0)
    with pytest.raises(ValueError, match=message):
        PPO(make_envs(toy15), kl_target=1.0, kl_coef=0.0)


def test_where_the_controller_stood_is_kept(tmp_path: Path) -> None:
    settings = {"kl_target": 0.05, "kl_horizon": 50}
    agent = make_agent(**settings)
    rows = agent.learn(24, progress=False)
    assert len({row["kl_coef"] for row in rows}) == 3
    agent.save(tmp_path / "a")
    loaded = PPO.load(tmp_path / "a", make_envs(tiny_gpt2_task()))
    assert loaded.kl_coef == agent.kl_coef != rows[-1]["kl_coef"]


@pytest.mark.slow
def test_the_kl_reaches_its_target(toy15: Task) -> None:
    """1 nat per response, over the last fifth of 150 updates; at beta 0.5 it would be 2.5."""
    agent = PPO(
        make_envs(toy15, 32, kl_coef=0.5),
        episodes_per_update=32,
        learning_rate=0.02,
        kl_target=1.0,
        kl_horizon=200,
    )
    rows = agent.learn(150 * 32, progress=False)
    late = [row["kl"] for row in rows[-30:]]
    assert sum(late) / len(late) == pytest.approx(1.0, rel=0.2)
