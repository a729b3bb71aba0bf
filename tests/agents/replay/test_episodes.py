"""Files of episodes as buffers, and back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

import agents
from agents import GRPO, Agent, Replay, collect
from agents.replay.rows import fields_of
from rlhf_env.episodes import read_episodes
from tests.agents.runs import weights
from tests.dialogues import talk_task
from wrappers.vector import MacroAction, RecordEpisodes


def make_envs(task: Any = "toy15", **options: Any) -> Any:
    return gym.make_vec("RLHF-v0", num_envs=4, task=task, **options)


def make_agent(replay: Replay, **settings: Any) -> Agent:
    chosen = {"episodes_per_update": 8, "group_size": 4, "importance": "sequence", **settings}
    return GRPO(make_envs(), replay=replay, learning_rate=0.1, **chosen)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 episodes of a policy that is not the reference, with log-probabilities."""
    path = tmp_path_factory.mktemp("recorded") / "episodes.jsonl"
    agent = GRPO(make_envs(), episodes_per_update=32, group_size=4, learning_rate=0.5)
    agent.update(agent.collect())
    collect(RecordEpisodes(make_envs(), path), agent.policy, 32, seed=7, group_size=4)
    return path


def edited(path: Path, folder: Path, line: int = 2, **changes: Any) -> Path:
    """Return a copy in which one line has other fields."""
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    rows[line - 1] |= changes
    copy = folder / "edited.jsonl"
    copy.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copy


@pytest.mark.parametrize(
    "task", ["toy15", "reviews", talk_task(max_turns=4)], ids=["bandit", "text", "talk"]
)
def test_a_recorded_file_is_the_rollout_that_was_recorded(task: Any, tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    agent = GRPO(make_envs(task), episodes_per_update=8, group_size=4)
    made = collect(RecordEpisodes(make_envs(task), path), agent.policy, 8, seed=3, group_size=4)
    stored = Replay.from_episodes(path, make_envs(task), group_size=4).episodes
    assert stored is not None
    width = stored.tokens.shape[1]
    for name, values in fields_of(stored).items():
        expected = fields_of(made)[name]
        if values.dim() == 2 and name != "preference":
            expected = expected[:, :width]
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)


def test_what_is_written_is_read_back(recorded: Path, tmp_path: Path) -> None:
    replay = Replay.from_episodes(recorded, make_envs(), group_size=4)
    replay.write_episodes(tmp_path / "copy.jsonl", make_envs())
    again = Replay.from_episodes(tmp_path / "copy.jsonl", make_envs(), group_size=4)
    assert replay.episodes is not None and again.episodes is not None
    left, right = fields_of(replay.episodes), fields_of(again.episodes)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    with pytest.raises(ValueError, match="path must be a new file"):
        replay.write_episodes(tmp_path / "copy.jsonl", make_envs())
    with pytest.raises(ValueError, match="the replay is empty"):
        Replay(capacity=8).write_episodes(tmp_path / "new.jsonl", make_envs())


def test_the_agents_environment_pays_and_decides(recorded: Path) -> None:
    envs = MacroAction(make_envs(kl_coef=0.7), n=2)
    stored = Replay.from_episodes(recorded, envs).episodes
    assert stored is not None and stored.kl_coef is not None
    assert stored.kl_coef.unique().tolist() == pytest.approx([0.7])
    torch.testing.assert_close(stored.reward_terms["kl"], 0.7 * stored.ref_logprobs)
    assert stored.decision.max() == 1
    assert stored.is_action.sum(1).max() == 3


def test_groups_are_formed_of_equal_prompts_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mixed.jsonl"
    envs = make_envs("reviews")
    policy = GRPO(envs, episodes_per_update=4, group_size=4).policy
    prompts = [envs.task.prompts[i] for i in (0, 1, 0, 1, 0)]
    made = collect(RecordEpisodes(envs, path), policy, 5, prompts=prompts, seed=0)
    with pytest.warns(UserWarning, match=r"1 of 5 episodes .* are left out: there are not 2"):
        stored = Replay.from_episodes(path, make_envs("reviews"), group_size=2).episodes
    assert stored is not None
    assert stored.group.tolist() == [0, 0, 1, 1]
    assert [p.tolist() for p in stored.prompts()] == [prompts[i].tolist() for i in (0, 0, 1, 1)]
    torch.testing.assert_close(stored.score, made.score[[0, 2, 1, 3]])
    with pytest.raises(ValueError, match="at least one group of 9 episodes"):
        Replay.from_episodes(path, make_envs("reviews"), group_size=9)


def test_an_agent_learns_from_a_file_alone(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.agent.collect", None)
    agent = make_agent(Replay.from_episodes(recorded, make_envs(), group_size=4))
    before = weights(agent)
    rows = agent.learn(24, progress=False)
    assert [row["replay_size"] for row in rows] == [32, 32, 32]
    assert not torch.equal(before[0], weights(agent)[0])


def test_a_file_can_be_the_beginning_of_an_online_buffer(recorded: Path) -> None:
    replay = Replay.from_episodes(
        recorded, make_envs(), group_size=4, capacity=40, ratio=1, max_age=3
    )
    agent = make_agent(replay)
    rows = agent.learn(40, progress=False)
    assert [row["replay_size"] for row in rows] == [40, 40, 40, 40, 32]


@pytest.fixture
def silent(recorded: Path, tmp_path: Path) -> Path:
    """The same, without log-probabilities in one episode."""
    return edited(recorded, tmp_path, 3, logprobs=None)


def test_missing_log_probabilities_are_refused_where_they_are_needed(silent: Path) -> None:
    replay = Replay.from_episodes(silent, make_envs(), group_size=4)
    with pytest.raises(
        ValueError, match=r"importance='sequence' needs the log-prob.* which 1 of the replay's 32"
    ):
        make_agent(replay)
    with pytest.raises(ValueError, match=r"no log-probabilities, .* kl_penalty=\"reference\""):
        Replay.from_episodes(silent, make_envs(kl_penalty="sampled"))


class Imitation:
    """A learning rule that reads no log-probability of the policy that sampled."""

    reads_old = False
    learns_off_policy = True

    def targets(self, rollout: Any, old: Any, reference: Any) -> Any:
        return old

    def loss(self, rollout: Any, new: Any, old: Any, targets: Any) -> Any:
        return -new.logprobs.sum(1) * rollout.score, {}


def test_missing_log_probabilities_are_fine_elsewhere(silent: Path, tmp_path: Path) -> None:
    replay = Replay.from_episodes(silent, make_envs())
    agent = Agent(make_envs(), algorithm=Imitation(), episodes_per_update=8, replay=replay)
    rows = agent.learn(32, progress=False)
    assert all(math.isfinite(row["score"]) for row in rows)
    assert all(w.isfinite().all() for w in weights(agent))
    replay.write_episodes(tmp_path / "copy.jsonl", make_envs())
    told = [episode.logprobs is None for episode in read_episodes(tmp_path / "copy.jsonl")]
    assert told == [number == 2 for number in range(32)]


@pytest.mark.parametrize(
    "name",
    [
        *("PCL", "TrajectoryBalance", "TBRM", "ReVal", "ShiQ"),
        *("OREO", "AStarPO", "SoftQ", "ILQL"),
    ],
)
def test_agents_of_values_learn_from_a_file_without_log_probabilities(
    name: str, silent: Path
) -> None:
    kind = getattr(agents, name)
    size = kind.config_class().group_size
    replay = Replay.from_episodes(silent, make_envs(), group_size=size)
    agent = kind(make_envs(), episodes_per_update=32, replay=replay)
    before = weights(agent)
    (row,) = agent.learn(32, progress=False)
    unknown = {key for key, value in row.items() if not math.isfinite(value)}
    assert unknown == {"kl", "kl_k3", "return"}
    after = weights(agent)
    assert all(w.isfinite().all() for w in after)
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_recorded_scores_can_be_kept(recorded: Path, tmp_path: Path) -> None:
    other = edited(recorded, tmp_path, 1, score=5.0)
    with pytest.warns(UserWarning, match='1 of 32 .* another score .*; scores="recorded" keeps'):
        judged = Replay.from_episodes(other, make_envs()).episodes
    kept = Replay.from_episodes(other, make_envs(), scores="recorded").episodes
    assert kept is not None and judged is not None
    assert kept.score[0] == 5
    assert judged.score[0] != 5
    assert kept.reward_terms["score"][0].sum() == 5
    assert torch.equal(kept.rewards[1:], judged.rewards[1:])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"response_ids": [1, 9, 0]}, r"ids of the task's vocabulary \[0, 3\), got 9"),
        ({"response_ids": [1, 0, 0]}, "goes on after its end-of-sequence token"),
        ({"response_ids": [1, 2], "logprobs": None}, "stops after 2 tokens without an end"),
        ({"response_ids": [1, 1, 1, 1]}, "has 4 tokens, expected at most 3"),
        ({"prompt_ids": []}, "must have a prompt of 1 to 1 tokens, got 0"),
        ({"response_ids": []}, "at least one token that the agent chose"),
        ({"response_ids": [0], "logprobs": [0.5]}, "a log-probability for each of its 1 actions"),
        ({"response_ids": [0], "logprobs": [-1, -1]}, "a log-probability for each of its 1"),
        ({"response_ids": [1, 0], "is_action": [False, True]}, "is of a conversation"),
    ],
)
def test_an_episode_of_another_environment_is_refused_by_number(
    recorded: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = edited(recorded, tmp_path, 2, **changes)
    with pytest.raises(ValueError, match=rf"episode 2 of .*edited\.jsonl.*{sentence}"):
        Replay.from_episodes(path, make_envs())


def test_a_path_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="path must be a file of recorded episodes"):
        Replay.from_episodes(tmp_path, make_envs())
