"""No checkpoint of a policy that cannot act, and none where one could not be replaced."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import agents.training.train
from agents import PPO, Agent
from rlhf_env.task import Task
from tests.agents.episodes import make_envs


def agent_of(task: Task) -> PPO:
    return PPO(make_envs(task, 8), episodes_per_update=8)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_policy_that_cannot_act_is_not_saved(toy15: Task, tmp_path: Path, value: float) -> None:
    agent = agent_of(toy15)
    agent.save(tmp_path / "good")
    with torch.no_grad():
        for parameter in agent.policy.model.parameters():
            parameter.fill_(value)
    with pytest.raises(ValueError, match=r"not finite.*nothing was saved"):
        agent.save(tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


def test_weights_that_a_callback_spoils_leave_the_last_good_checkpoint(
    toy15: Task, tmp_path: Path
) -> None:
    def spoil(agent: Agent, metrics: dict[str, float]) -> None:
        if metrics["update"] == 2:
            next(agent.policy.parameters()).data.fill_(math.nan)

    agent_of(toy15).learn(8, log_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="nothing was saved"):
        agent_of(toy15).learn(16, log_dir=tmp_path, progress=False, callback=spoil)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["update-00000001"]
    rows = agent_of(toy15).learn(16, log_dir=tmp_path, progress=False)
    assert [row["update"] for row in rows] == [2]


@pytest.mark.parametrize("name", ["update-00000007", ".update-00000007.partial-1"])
@pytest.mark.parametrize("kind", ["a symbolic link", "a file"])
def test_what_is_no_folder_stops_a_run_before_it_begins(
    toy15: Task, tmp_path: Path, name: str, kind: str
) -> None:
    agent, path = agent_of(toy15), tmp_path / "run" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    if kind == "a file":
        path.touch()
    else:
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"must be a folder, got {kind}.*move it away"):
        agent.learn(8, log_dir=tmp_path / "run", progress=False)
    assert agent.updates == 0


def test_a_link_is_not_replaced_by_save(toy15: Task, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="got the symbolic link"):
        agent_of(toy15).save(tmp_path / "link")


def test_a_finished_run_is_only_read(
    toy15: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_of(toy15).learn(16, log_dir=tmp_path, progress=False)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}

    def refuse(log_dir: object) -> None:
        raise ValueError("log_dir must be a folder that can be written")

    monkeypatch.setattr(agents.training.train, "run_lock", refuse)
    agent = agent_of(toy15)
    assert agent.learn(16, log_dir=tmp_path, progress=False) == []
    assert agent.updates == 2
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
