"""The best checkpoint is kept by an evaluation, and is the same after an interruption."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import GRPO
from agents.callbacks import KeepBest, best_checkpoint, in_turn
from rlhf_env.rewards import Ensemble
from rlhf_env.task import Task
from tests.agents.episodes import make_envs


def with_gold(task: Task) -> Task:
    """The proxy pays for words 1 and 2 alike; gold is the score of toy15."""

    def proxy(prompts: list[torch.Tensor], responses: list[torch.Tensor]) -> torch.Tensor:
        return torch.tensor([float((ids != 0).sum()) for ids in responses])

    return dataclasses.replace(task, reward=proxy, gold=task.reward)


def make_agent(task: Task) -> GRPO:
    return GRPO(make_envs(task, 8), learning_rate=0.1, episodes_per_update=16, seed=3)


def learn(agent: GRPO, updates: int, folder: Path, *more: Any) -> KeepBest:
    keep = KeepBest(folder / "best", every=2, episodes=32)
    agent.learn(16 * updates, log_dir=folder / "run", progress=False, callback=in_turn(keep, *more))
    return keep


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".safetensors")
    }


def test_the_checkpoint_is_that_of_the_best_evaluation(toy15: Task, tmp_path: Path) -> None:
    task = with_gold(toy15)
    agent = make_agent(task)
    learn(agent, 9, tmp_path)
    record = json.loads((tmp_path / "best" / "best.json").read_text())
    values = {int(update): value for update, value in record["evaluations"].items()}
    assert sorted(values) == [1, 2, 4, 6, 8]
    assert record["best"] == max(values, key=lambda update: values[update])
    path = best_checkpoint(tmp_path / "best")
    assert [each.name for each in (tmp_path / "best").glob("update-*")] == [path.name]
    loaded = GRPO.load(path, make_envs(task, 8))
    assert loaded.updates == record["best"]
    assert loaded.evaluate(32)["gold"] == pytest.approx(record["value"])


def test_it_does_not_disturb_training(toy15: Task, tmp_path: Path) -> None:
    task = with_gold(toy15)
    kept, plain = make_agent(task), make_agent(task)
    learn(kept, 4, tmp_path)
    plain.learn(16 * 4, progress=False)
    pairs = zip(kept.policy.parameters(), plain.policy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("killed_at", [1, 2, 5, 6, 7])
def test_a_killed_run_ends_with_the_same_folder(
    killed_at: int, toy15: Task, tmp_path: Path
) -> None:
    task = with_gold(toy15)

    def kill(agent: Any, metrics: dict[str, float]) -> None:
        if metrics["update"] == killed_at:
            raise RuntimeError("killed")

    learn(make_agent(task), 8, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        learn(make_agent(task), 8, tmp_path / "killed", kill)
    learn(make_agent(task), 8, tmp_path / "killed")
    assert files(tmp_path / "whole" / "best") == files(tmp_path / "killed" / "best")


def test_smaller_may_be_better_and_the_measure_ones_own(toy15: Task, tmp_path: Path) -> None:
    values = iter([3.0, 1.0, 2.0])
    keep = KeepBest(tmp_path, metric=lambda agent: next(values), every=1, larger=False)
    agent = make_agent(toy15)
    agent.learn(16 * 3, progress=False, callback=keep)
    assert best_checkpoint(tmp_path).name == "update-00000002"


def test_what_cannot_be_used_is_refused(toy15: Task, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every"):
        KeepBest(tmp_path, every=0)
    with pytest.raises(ValueError, match=r"metric must be one of .*win_rate, got 'gold'"):
        make_agent(toy15).learn(16, progress=False, callback=KeepBest(tmp_path / "a"))
    with pytest.raises(ValueError, match="finite"):
        never = KeepBest(tmp_path / "a", metric=lambda agent: float("nan"))
        make_agent(toy15).learn(16, progress=False, callback=never)
    assert not (tmp_path / "a").exists()
    with pytest.raises(ValueError, match=r"best\.json"):
        best_checkpoint(tmp_path / "a")
    make_agent(toy15).learn(
        16, progress=False, callback=KeepBest(tmp_path / "b", metric="score", episodes=8)
    )
    other = KeepBest(tmp_path / "b", metric="score", episodes=16)
    with pytest.raises(ValueError, match="of another"):
        make_agent(toy15).learn(16, progress=False, callback=other)


def test_an_ensemble_tells_its_disagreement(toy15: Task) -> None:
    """Scores 0 and 2 of every response: a deviation of 1."""
    constant = [
        lambda prompts, responses, c=c: torch.full((len(responses),), c) for c in (0.0, 2.0)
    ]
    task = dataclasses.replace(toy15, reward=Ensemble(constant))
    history = make_agent(task).learn(16, progress=False)
    assert history[0]["disagreement"] == pytest.approx(1.0)
