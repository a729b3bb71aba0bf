"""Sampling with the weights of some updates ago."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import PPO, RLOO, Agent
from agents.exact_gradients.responses import every_response
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, weights
from tests.toys import tiny_gpt2_task


def table(agent: Agent) -> Tensor:
    (found,) = agent.policy.model.parameters()
    return found.detach().clone()


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_episodes_are_those_of_the_weights_some_updates_ago(toy15: Task, staleness: int) -> None:
    agent = RLOO(make_envs(toy15), learning_rate=0.05, staleness=staleness, seed=1)
    history = []
    for update in range(6):
        history.append(table(agent))
        rollout, ages = agent.collect(), min(update, staleness)
        fresh = RLOO(make_envs(toy15), seed=1)
        with torch.no_grad():
            (own,) = fresh.policy.model.parameters()
            own.copy_(history[update - ages])
        fresh.updates = update
        expected = fresh.collect()
        assert torch.equal(rollout.tokens, expected.tokens)
        assert torch.equal(rollout.logprobs, expected.logprobs)
        assert torch.equal(table(agent), history[-1])
        metrics = agent.update(rollout)
        assert metrics.get("sampler_age", 0.0) == ages


def test_a_rollout_that_fails_leaves_the_present_weights(toy15: Task) -> None:
    agent = RLOO(make_envs(toy15), learning_rate=0.05, staleness=2)
    agent.learn(64 * 3, progress=False)
    before = table(agent)
    with pytest.raises(KeyboardInterrupt), agent.sampling():
        assert not torch.equal(table(agent), before)
        raise KeyboardInterrupt
    assert torch.equal(table(agent), before)


def test_the_sampler_s_distance_is_logged(toy15: Task) -> None:
    """KL(mu||pi) of one token, estimated from 4,096 episodes, against its exact value."""
    settings: dict[str, Any] = {"learning_rate": 0.2, "staleness": 1, "importance": "token"}
    agent = RLOO(make_envs(toy15, 512), episodes_per_update=4096, **settings)
    first = agent.update(agent.collect())
    assert abs(first["sampler_kl"]) < 1e-6
    every = every_response(agent).rollout
    own = agent.policy.evaluate_episodes(every.tokens, every.is_action).logprobs
    chance, distance = every.logprobs.sum(dim=1).exp(), (every.logprobs - own).sum(dim=1)
    exact = float(chance @ distance / (chance @ every.response_lengths.float()))
    spread = float((chance @ distance.square()).sqrt())
    second = agent.update(agent.collect())
    assert exact > 0.01
    assert second["sampler_kl"] == pytest.approx(exact, abs=4 * spread / 64)
    assert second["importance_max"] > 1.05


@pytest.mark.parametrize("kind", [RLOO, PPO])
def test_a_restored_agent_goes_on_with_the_same_past(kind: type[Agent], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"staleness": 3, "behavior_noise": 0.1, "importance": "sequence"}
    settings |= {"learning_rate": 0.01, "episodes_per_update": 16, "seed": 5}
    task = tiny_gpt2_task()
    whole = kind(make_envs(task), **settings)
    for update in range(6):
        if update == 3:
            whole.save(tmp_path / "checkpoint")
        whole.update(whole.collect())
    resumed = kind.load(tmp_path / "checkpoint", make_envs(task))
    for _ in range(3):
        resumed.update(resumed.collect())
    assert_equal(weights(whole), weights(resumed))
    assert_equal(
        *(list(each.episode_sampling.past_weights.saved().values()) for each in (whole, resumed))
    )


def test_of_an_adapter_only_the_adapter_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    settings: dict[str, Any] = {"lora_rank": 2, "staleness": 2, "learning_rate": 0.05}
    agent = RLOO(make_envs(tiny_gpt2_task()), **settings)
    saved = agent.episode_sampling.past_weights.saved()
    assert saved
    assert all("lora_" in name for name in saved)
    for update in range(4):
        if update == 2:
            agent.save(tmp_path / "checkpoint")
        agent.update(agent.collect())
    resumed = RLOO.load(tmp_path / "checkpoint", make_envs(tiny_gpt2_task()))
    for _ in range(2):
        resumed.update(resumed.collect())
    assert_equal(weights(agent), weights(resumed))


def test_another_staleness_cannot_go_on(toy15: Task, tmp_path: Path) -> None:
    RLOO(make_envs(toy15), staleness=2).save(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="was made with staleness = 2, got 1"):
        RLOO(make_envs(toy15), staleness=1).restore(tmp_path / "checkpoint")
