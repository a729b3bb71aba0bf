"""Several agents on one environment: none of them writes into it, so none changes another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import GRPO, PPO, Agent
from rlhf_env.task import Task
from tests.agents.episodes import make_envs

PPO_SETTINGS = {"kl_coef": 0.1, "temperature": 0.7, "episodes_per_update": 16}
GRPO_SETTINGS = {"kl_coef": 5.0, "episodes_per_update": 16, "group_size": 4}
STEERED = {"kl_coef": 0.3, "kl_target": 0.05, "kl_horizon": 40, "episodes_per_update": 16}


def figures(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]


def alone(kind: type[Agent], settings: dict[str, Any], task: Task) -> list[dict[str, float]]:
    agent = kind(make_envs(task, 8), **settings)
    rows = figures(agent.learn(48, progress=False))
    return [*rows, agent.evaluate(16)]


@pytest.mark.parametrize("settings", [PPO_SETTINGS, STEERED])
def test_two_agents_learn_in_turns_as_each_does_alone(
    toy15: Task, settings: dict[str, Any]
) -> None:
    envs = make_envs(toy15, 8)
    ppo, grpo = PPO(envs, **settings), GRPO(envs, **GRPO_SETTINGS)
    rows: dict[Agent, list[dict[str, float]]] = {ppo: [], grpo: []}
    for episodes in (16, 32, 48):
        for agent, found in rows.items():
            # `learn` counts from the start of its call where there is no folder to resume.
            found += figures(agent.learn(episodes, progress=False))
    rows[ppo].append(ppo.evaluate(16))
    rows[grpo].append(grpo.evaluate(16))
    assert rows[ppo] == alone(PPO, settings, toy15)
    assert rows[grpo] == alone(GRPO, GRPO_SETTINGS, toy15)


def test_what_the_environment_pays_stays_what_it_was(toy15: Task, tmp_path: Path) -> None:
    envs = make_envs(toy15, 8, kl_coef=0.2)
    agent = PPO(envs, **STEERED, temperature=0.7)
    agent.learn(32, progress=False)
    agent.evaluate(8)
    agent.save(tmp_path / "a")
    PPO.load(tmp_path / "a", envs)
    assert (envs.kl_coef, envs.mdp.temperature) == (0.2, 1.0)
    assert agent.kl_coef != STEERED["kl_coef"]


def test_it_does_after_an_error_too(toy15: Task) -> None:
    envs = make_envs(toy15, 8, kl_coef=0.2)
    agent = PPO(envs, kl_coef=3.0, temperature=0.7)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no reference today")

    envs.evaluate = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="no reference today"):
        agent.collect()
    assert (envs.kl_coef, envs.mdp.temperature) == (0.2, 1.0)


def test_an_agent_without_a_coefficient_uses_the_environment_s(toy15: Task) -> None:
    envs = make_envs(toy15, 8, kl_coef=0.2)
    agent = PPO(envs, episodes_per_update=8)
    for coefficient in (0.2, 0.7):
        envs.unwrapped.kl_coef = coefficient
        rollout = agent.collect()
        assert rollout.kl_coef is not None
        assert rollout.kl_coef.tolist() == pytest.approx([coefficient] * 8)
        assert agent.kl_coef == coefficient
    agent.kl_coef = 0.4
    assert envs.kl_coef == 0.7
    again = agent.collect()
    assert again.kl_coef is not None
    assert again.kl_coef.tolist() == pytest.approx([0.4] * 8)


def test_a_coefficient_below_zero_is_refused(toy15: Task) -> None:
    agent = PPO(make_envs(toy15, 8), episodes_per_update=8)
    with pytest.raises(ValueError, match="kl_coef must be"):
        agent.kl_coef = -0.1
