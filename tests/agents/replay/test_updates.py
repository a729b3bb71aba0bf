"""What an update learns from with a buffer, and who may have one."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import DPO, GRPO, PPO, RLOO, SFT, TRPO, Agent, Reinforce, Replay
from rlhf_env.rollout import Rollout
from tests.agents.replay.rollouts import PAD, made_of
from tests.agents.runs import assert_equal, weights


def toy15_envs() -> Any:
    return gym.make_vec("RLHF-v0", num_envs=4, task="toy15")


def make_agent(kind: type[Agent] = GRPO, replay: Replay | None = None, **settings: Any) -> Agent:
    groups = {"group_size": 4} if kind in (GRPO, RLOO) else {}
    chosen = {"episodes_per_update": 8, "learning_rate": 0.1, **groups, **settings}
    return kind(toy15_envs(), replay=replay, **chosen)


def learned_rows(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> list[Rollout]:
    """Return a list that gets the rows of each update as the learning rule sees them."""
    seen: list[Rollout] = []
    learned = agent.learned

    def recorded(rollout: Rollout, old: Any) -> Rollout:
        seen.append(learned(rollout, old))
        return seen[-1]

    monkeypatch.setattr(agent, "learned", recorded)
    return seen


@pytest.mark.parametrize("kind", [PPO, GRPO, RLOO, Reinforce, TRPO])
def test_an_update_learns_from_fresh_episodes_and_old_ones(
    kind: type[Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = Replay(capacity=16, ratio=1.5)
    agent = make_agent(kind, replay, importance="sequence")
    seen = learned_rows(agent, monkeypatch)
    made, figures = [], []
    for _ in range(3):
        made.append(agent.collect())
        figures.append(agent.update(made[-1]))
    assert [len(rows) for rows in seen] == [8, 16, 20]
    assert [row["replay_size"] for row in figures] == [8, 16, 16]
    assert [row["replay_fraction"] for row in figures] == [0, 0.5, 0.6]
    assert figures[1]["replay_age_mean"] == 1
    assert agent.episodes == 24
    fresh, old = seen[1].take(torch.arange(8)), seen[1].take(torch.arange(8, 16))
    assert torch.equal(fresh.score, made[1].score)
    assert torch.equal(old.score, made[0].score)
    assert torch.equal(old.logprobs.sum(1), made[0].logprobs.sum(1))
    assert not set(fresh.group.tolist()) & set(old.group.tolist())
    assert seen[2].group.bincount().unique().tolist() == [agent.config.group_size]


def test_old_episodes_have_the_kl_of_the_policy_that_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = make_agent(GRPO, Replay(capacity=16), importance="token")
    seen = learned_rows(agent, monkeypatch)
    agent.update(agent.collect())
    agent.kl_coef = 0.3
    agent.update(agent.collect())
    rows = seen[1]
    now = agent.kl_coef * rows.ref_logprobs
    assert rows.kl_coef is not None
    assert rows.kl_coef.tolist() == pytest.approx([0.3] * 16)
    owed = now - rows.reward_terms["kl"]
    # beta log pi of the weights that learn, which are those that sampled the fresh rows.
    assert torch.allclose(owed[:8], 0.3 * rows.logprobs[:8], atol=1e-6)
    assert not torch.allclose(owed[8:], 0.3 * rows.logprobs[8:], atol=1e-3)


def test_without_old_episodes_the_first_update_is_that_of_an_agent_without_a_buffer() -> None:
    plain, mixed = (
        make_agent(importance="token"),
        make_agent(replay=Replay(capacity=16), importance="token"),
    )
    for agent in (plain, mixed):
        agent.update(agent.collect())
    assert_equal(weights(plain), weights(mixed))
    for agent in (plain, mixed):
        agent.update(agent.collect())
    assert not all(torch.equal(a, b) for a, b in zip(weights(plain), weights(mixed), strict=True))


def test_figures_and_the_steered_beta_are_of_fresh_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = make_agent(Reinforce, Replay(capacity=64, ratio=4), importance="token", kl_target=0.1)
    steered: list[int] = []
    monkeypatch.setattr(agent, "steer_kl", lambda rollout: steered.append(len(rollout)))
    seen = learned_rows(agent, monkeypatch)
    agent.update(agent.collect())
    figures = agent.update(agent.collect())
    assert steered == [8, 8]
    assert figures["return"] == pytest.approx(float(seen[1].rewards[:8].sum(1).mean()))


@pytest.mark.parametrize("kind", [PPO, GRPO, RLOO, Reinforce, TRPO])
def test_on_policy_agents_refuse_old_episodes(kind: type[Agent]) -> None:
    sentence = rf"{kind.__name__} takes every episode for its policy's own.*set importance="
    with pytest.raises(ValueError, match=sentence):
        make_agent(kind, Replay(capacity=16))


def test_agents_that_do_not_sample_to_learn_refuse_old_episodes() -> None:
    with pytest.raises(ValueError, match=r"DPO takes every episode.*; leave replay out"):
        make_agent(DPO, Replay(capacity=16))
    with pytest.raises(ValueError, match=r"SFT takes every episode.*; leave replay out"):
        SFT(toy15_envs(), demonstrations=[([0], [1])], replay=Replay(capacity=16))


class AnyEpisodes:
    """A learning rule that any policy's episodes teach."""

    reads_old = False
    learns_off_policy = True

    def targets(self, rollout: Rollout, old: Any, reference: Any) -> Any:
        return old

    def loss(self, rollout: Rollout, new: Any, old: Any, targets: Any) -> Any:
        return -(new.logprobs.sum(1) * rollout.score), {}


def test_a_rule_that_says_so_takes_old_episodes() -> None:
    agent = Agent(toy15_envs(), algorithm=AnyEpisodes(), episodes_per_update=8, replay=Replay(16))
    agent.update(agent.collect())
    assert agent.update(agent.collect())["replay_fraction"] == 0.5


@pytest.mark.parametrize(
    ("replay", "sentence"),
    [
        (Replay(capacity=3), "capacity must hold at least one group of 4, got 3"),
        (Replay(capacity=16, ratio=0.25), "ratio must give at least one group of 4 .* got 0.25"),
        ([], "replay must be an agents.Replay, got list"),
    ],
)
def test_a_buffer_that_does_not_fit_is_refused(replay: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_agent(GRPO, replay, importance="token")


def test_stored_groups_of_another_size_are_refused() -> None:
    replay = Replay(capacity=16)
    replay.add(made_of([2, 3], 2), 0, PAD)
    with pytest.raises(ValueError, match=r"compares within groups of 4, got a replay .* of 2"):
        make_agent(GRPO, replay, importance="token")


def test_an_offline_agent_samples_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_agent(GRPO, Replay(capacity=64), importance="sequence")
    for _ in range(4):
        source.update(source.collect())
    replay = Replay(capacity=64, ratio=math.inf)
    assert source.replay is not None
    replay.put(source.replay.episodes, source.replay.born)
    agent = make_agent(GRPO, replay, importance="sequence")
    monkeypatch.setattr("agents.agent.collect", None)
    rows = agent.learn(32, progress=False)
    assert len(rows) == 4
    assert rows[-1]["replay_fraction"] == 1
    assert rows[-1]["replay_size"] == 32
    assert len(replay) == 32
    assert {row["update"] for row in rows} == {1, 2, 3, 4}


def test_an_empty_offline_buffer_is_refused() -> None:
    agent = make_agent(GRPO, Replay(capacity=64, ratio=math.inf), importance="sequence")
    with pytest.raises(ValueError, match="replay must hold the 8 episodes of an update, got 0"):
        agent.learn(8, progress=False)


def test_kl_target_has_no_fresh_episodes_offline() -> None:
    replay = Replay(capacity=64, ratio=math.inf)
    with pytest.raises(ValueError, match="kl_target is reached by the KL of fresh episodes"):
        make_agent(GRPO, replay, importance="sequence", kl_target=0.1)
