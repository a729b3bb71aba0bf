"""The policies that gradients are measured at, and the ones that sample for them."""

from __future__ import annotations

import copy
import re
from functools import cached_property

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from agents import GRPO
from rlhf_env.exact import evaluate, solve
from rlhf_env.task import Task
from studies.estimators.cells import BEHAVIORS

# The optimum of a larger coefficient lies on the way from the reference to the optimum.
_LARGER = {"middle": 2.0, "near": 1.1}
_UPDATES = 16


class Policies:
    """Table models of a small task, by name."""

    def __init__(self, task: Task, kl_coef: float, seed: int) -> None:
        """Take a task whose reference is a table.

        Args:
            task: with one prompt.
            kl_coef: beta of the objective.
            seed: of the noise, and of the training run.
        """
        self.task = task
        self.kl_coef = kl_coef
        self.seed = seed

    def policy(self, name: str) -> nn.Module:
        """Return a new model: the reference, a way point, or the last of the training run."""
        if name == "reference":
            return copy.deepcopy(self.task.reference).requires_grad_(True)
        if name == "trained":
            return copy.deepcopy(self._run[-1])
        found = solve(self.task, self.kl_coef * _LARGER[name]).policy
        logits = torch.tensor(list(found.values()), dtype=torch.float64).log()
        return self._table(logits.T)

    def behavior(self, name: str) -> nn.Module:
        """Return who samples in place of the trained policy, one of `BEHAVIORS`."""
        return self._run[-1 - BEHAVIORS_AGE[name]]

    def values(self, critic: str, policy: nn.Module) -> Tensor:
        """Return V of every state [S] as a critic has it."""
        if critic == "zero":
            return torch.zeros(len(solve(self.task, self.kl_coef).values))
        whose = self.task.reference if critic == "of the reference" else policy
        exact = evaluate(self.task, whose, self.kl_coef).values
        values = torch.tensor(list(exact.values()), dtype=torch.float64)
        if critic == "exact + noise":
            generator = np.random.default_rng([self.seed, 1])
            values = values + 0.5 * torch.from_numpy(generator.standard_normal(len(values)))
        return values.float()

    @cached_property
    def _run(self) -> list[nn.Module]:
        """The policies of a training run, the reference first."""
        envs = gym.make_vec("RLHF-v0", num_envs=64, task=self.task, kl_coef=self.kl_coef)
        agent = GRPO(envs, group_size=8, episodes_per_update=64, learning_rate=0.05, seed=self.seed)
        models = [copy.deepcopy(agent.policy.model)]
        for _ in range(_UPDATES):
            agent.update(agent.collect())
            models.append(copy.deepcopy(agent.policy.model))
        return models

    def _table(self, logits: Tensor) -> nn.Module:
        model = copy.deepcopy(self.task.reference).requires_grad_(True)
        (table,) = model.parameters()
        with torch.no_grad():
            table.copy_(logits)
        return model


BEHAVIORS_AGE = {name: int(re.findall(r"\d+", name)[0]) for name in BEHAVIORS}
