"""The names of figures that are known before anything is evaluated."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from agents import GRPO, BestOfN
from agents.evaluation.names import FIGURES, figure_names
from rlhf_env.rewards import Ensemble
from rlhf_env.task import Task
from tests.agents.episodes import make_envs


def of_length(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.tensor([float(len(response)) for response in responses])


class Solved(Ensemble):
    """An ensemble that takes every response for a solution."""

    def solved(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.ones(len(responses), dtype=torch.bool)


def test_they_are_those_of_evaluations(toy15: Task) -> None:
    task = dataclasses.replace(toy15, reward=Solved([toy15.reward, of_length]), gold=of_length)
    envs = make_envs(task, 8)
    agents = GRPO(envs, episodes_per_update=8, group_size=4), BestOfN(envs, n=2)
    found = {name for agent in agents for name in agent.evaluate(8)}
    assert found == set(figure_names(8))
    assert found - set(FIGURES) == {"pass_at_1", "pass_at_2", "pass_at_4", "pass_at_8"}
