"""A critic that learns first, faster, or elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agents import PPO, TRPO, Agent, KLPenaltyPPO, Reinforce
from agents.critics.pretraining import pretrain_critic
from rlhf_env.exact import evaluate
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, make_agent, weights, without_time
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import MacroAction, SequenceBandit

KINDS = [PPO, KLPenaltyPPO, TRPO]
WRAPS = [None, lambda envs: MacroAction(envs, 2), SequenceBandit]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_only_the_critic_learns_in_the_warmup(kind: type[Agent], critic: str) -> None:
    settings: dict[str, Any] = {"kl_target": 0.1, "entropy_target": 0.5}
    if kind is KLPenaltyPPO:
        settings["penalty_coef"] = 0.7
    agent = make_agent(kind, critic=critic, critic_warmup_updates=2, **settings)
    before = [p.clone() for p in agent.policy.model.parameters()]
    rows = agent.learn(8 * 2, progress=False)
    assert_equal(before, list(agent.policy.model.parameters()))
    assert agent.policy.value_head.weight.any()
    assert all(p.requires_grad for p in agent.policy.model.parameters())
    assert [row["is_warmup"] for row in rows] == [1.0, 1.0]
    # Nothing that reacts to the policy has moved, as the policy has not.
    assert agent.kl_coef == agent.base.kl_coef
    if kind is KLPenaltyPPO:
        assert agent.learner.algorithm.penalty_coef == 0.7  # type: ignore[attr-defined]
    assert agent.learner.entropy.state() == {"coefficient": 0.0, "is_low": 1.0}
    (last,) = agent.learn(8 * 3, progress=False)
    assert last["is_warmup"] == 0.0
    assert not all(
        torch.equal(a, b) for a, b in zip(before, agent.policy.model.parameters(), strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_every_granularity_warms_up(toy15: Task, kind: type[Agent], wrap: Any) -> None:
    envs: Any = make_envs(toy15, 16)
    agent = kind(
        envs if wrap is None else wrap(envs), episodes_per_update=16, critic_warmup_updates=1
    )
    agent.learn(16, progress=False)
    (table,) = agent.policy.model.parameters()
    assert torch.equal(table, toy15.reference.get_parameter("lm_head.weight"))
    assert agent.policy.value_head.weight.any()


@pytest.mark.parametrize("kind", [PPO, KLPenaltyPPO])
@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_the_critic_has_a_step_size_of_its_own(kind: type[Agent], critic: str) -> None:
    agent = make_agent(kind, critic=critic, learning_rate=0.0, critic_learning_rate=0.01)
    before = [p.clone() for p in agent.policy.model.parameters()]
    agent.update(agent.collect())
    assert_equal(before, list(agent.policy.model.parameters()))
    assert agent.policy.value_head.weight.any()
    own = agent.policy.critic
    if own is not None:
        assert not torch.equal(before[0], next(own.parameters()))
    other = make_agent(kind, critic=critic, learning_rate=0.01, critic_learning_rate=0.0)
    other.update(other.collect())
    assert not other.policy.value_head.weight.any()
    assert not torch.equal(before[0], next(other.policy.model.parameters()))


@pytest.mark.parametrize(
    "settings",
    [
        {"critic_warmup_updates": 2, "critic_gae_lambda": 1.0},
        {"critic_learning_rate": 0.05, "critic": "separate"},
        {"length_adaptive_lambda": 0.3, "critic_learning_rate": 0.05},
        {"critic": "monte_carlo", "critic_rollouts": 2},
    ],
)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_is_the_uninterrupted_run(
    settings: dict[str, Any], stop: int, tmp_path: Path
) -> None:
    whole = make_agent(PPO, **settings)
    rows = whole.learn(32, progress=False)
    part = make_agent(PPO, **settings)
    part.learn(8 * stop, progress=False)
    part.save(tmp_path / "part")
    resumed = PPO.load(tmp_path / "part", make_envs(tiny_gpt2_task()))
    assert resumed.config == whole.config
    rest = resumed.learn(32, progress=False)
    assert without_time(rest) == without_time(rows[stop:])
    assert_equal(weights(whole), weights(resumed))


def saved_critic(task: Task, folder: Path, **settings: Any) -> PPO:
    agent = PPO(make_envs(task, 16, kl_coef=0.5), episodes_per_update=64, **settings)
    pretrain_critic(agent, 64 * 3)
    agent.save(folder)
    return agent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_critic_from_a_checkpoint_says_the_same(
    kind: type[Agent], critic: str, tmp_path: Path
) -> None:
    task = tiny_gpt2_task()
    source = saved_critic(task, tmp_path / "critic", learning_rate=0.01, critic=critic)
    agent: Any = kind(make_envs(task), critic=critic, critic_from=tmp_path / "critic")
    rollout = source.collect()
    one, other = (
        a.policy.evaluate_episodes(rollout.tokens, rollout.is_action) for a in (source, agent)
    )
    assert one.values.any()
    assert torch.equal(one.values, other.values)
    assert agent.updates == 0


def test_a_separate_critic_takes_the_trunk_of_a_shared_one(tmp_path: Path) -> None:
    task = tiny_gpt2_task()
    source = make_agent(PPO, task)
    source.learn(16, progress=False)
    source.save(tmp_path / "critic")
    agent = make_agent(PPO, task, critic="separate", critic_from=tmp_path / "critic")
    rollout = source.collect()
    one, other = (
        a.policy.evaluate_episodes(rollout.tokens, rollout.is_action) for a in (source, agent)
    )
    assert torch.equal(one.values, other.values)
    assert not torch.equal(one.logprobs, other.logprobs)
    with pytest.raises(ValueError, match="another trunk"):
        make_agent(PPO, task, critic_from=tmp_path / "critic")


def test_critics_that_do_not_fit(tmp_path: Path) -> None:
    task = tiny_gpt2_task()
    make_agent(PPO, task).save(tmp_path / "critic")
    with pytest.raises(ValueError, match="of other discounts"):
        make_agent(PPO, task, gamma={"score": 1.0, "kl": 1.0}, critic_from=tmp_path / "critic")
    with pytest.raises(ValueError, match="must be a folder that save"):
        make_agent(PPO, task, critic_from=tmp_path / "none")
    with pytest.raises(ValueError, match="is for a critic that learns"):
        make_agent(PPO, task, critic="monte_carlo", critic_from=tmp_path / "critic")
    with pytest.raises(ValueError, match="lora_rank"):
        make_agent(PPO, task, lora_rank=2, critic_from=tmp_path / "critic")


@pytest.mark.parametrize("kind", KINDS)
def test_pretraining_finds_the_values_of_the_reference(toy15: Task, kind: type[Agent]) -> None:
    """Beta 0.5 has no part in it: the reference pays no KL to itself. V of () is E[score]."""
    agent = kind(
        make_envs(toy15, 64, kl_coef=0.5),
        policy=theta_policy(toy15),
        episodes_per_update=256,
        learning_rate=0.01,
        critic_gae_lambda=1.0,
        max_grad_norm=10.0,
    )
    (table,) = (p.clone() for p in agent.policy.model.parameters())
    first = agent.collect()
    rows = pretrain_critic(agent, 256 * 30)
    assert len(rows) == 30
    assert rows[-1]["value_loss"] < 0.8 * rows[0]["value_loss"]
    assert torch.equal(table, next(agent.policy.model.parameters()))
    assert (agent.updates, agent.episodes) == (0, 0)
    assert torch.equal(agent.collect().tokens, first.tokens)
    exact = evaluate(toy15, toy15.reference, 0.5).values
    head = agent.policy.value_head
    found = (head.weight[0] + head.bias).tolist()
    assert found == pytest.approx(list(exact.values()), abs=0.25)


def test_agents_without_such_a_critic_are_refused(toy15: Task) -> None:
    for agent in (
        Reinforce(make_envs(toy15)),
        PPO(make_envs(toy15), critic="monte_carlo"),
    ):
        with pytest.raises(ValueError, match="needs a critic that learns"):
            pretrain_critic(agent, 64)
    with pytest.raises(ValueError, match="no setting 'critic_gae_lambda'"):
        Reinforce(make_envs(toy15), critic_gae_lambda=1.0)
