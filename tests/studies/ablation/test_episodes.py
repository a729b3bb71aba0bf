"""Example episodes of an agent of one's own: before and after training, as of the built-in ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from studies.ablation.execute import execute
from studies.experiment.grid import Budget, RunSettings
from studies.experiment.result import RunResult
from tests.studies.own_agents import Leaning

HERE = f"{__name__}:"


class Global(Leaning):
    """It draws from NumPy's global stream, which its constructor seeds only once."""

    def __init__(self, envs: Any, *, gamma: float, seed: int) -> None:
        super().__init__(envs, gamma=gamma, seed=seed)
        self.generator = np.random  # type: ignore[assignment]


def result(agent: str) -> RunResult:
    budget = Budget(task="toy15", updates=2, episodes_per_update=8, eval_episodes=8)
    run = RunSettings(
        agent=agent,
        gamma=1.0,
        density="terminal",
        granularity="token",
        gae_lambda=None,
        kl_coef=None,
        group_size=None,
        seed=3,
        budget=budget,
    )
    return execute(run)


def test_they_are_there_before_and_after_training() -> None:
    stages = [episode["stage"] for episode in result("tests.studies.own_agents:Uniform").samples]
    built_in = [episode["stage"] for episode in result("ppo").samples]
    assert stages == built_in == ["before", "after"]
    first, _ = result("tests.studies.own_agents:Leaning").samples
    assert len(first["tokens"]) == len(first["kl"]) > 0


def test_drawing_them_changes_no_figure(monkeypatch: Any) -> None:
    """Neither the agent's own random numbers nor the global ones."""
    for name in ("tests.studies.own_agents:Leaning", f"{HERE}Global"):
        np.random.seed(0)
        shown = result(name)
        with monkeypatch.context() as patch:
            patch.setattr("studies.ablation.execute.example_episodes", lambda *_: [])
            np.random.seed(0)
            without = result(name)
        assert torch.equal(_scores(shown), _scores(without))


def _scores(found: RunResult) -> torch.Tensor:
    return torch.tensor([[point["score"], point["leaning"]] for point in found.curve])
