"""Claims that expected gradients decide: all rollouts enumerated, at policies drawn by seed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import torch
from torch import nn

import wrappers.vector
from agents.exact_gradients import exact_gradients
from agents.settings import BUILT_IN_AGENTS
from rlhf_env.exact import evaluate, solve
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from studies.zoo.claim import Point, Row

# The optimum of a larger beta lies on the way from the reference to the optimum.
_LARGER = 2.0
_NOISE = 0.3


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """One estimator of the policy gradient."""

    agent: str
    """The name of a built-in agent."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the agent."""
    granularity: str = "token"
    """"token" or "bandit"."""
    values: str = "zero"
    """What a critic knows: "zero", or "exact", V of the policy."""


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Bias and noise of estimators on toy15, by enumeration.

    The seed draws the policy: halfway to the optimum (that of twice beta), with noise on its
    logits. Columns are numbers of `agents.exact_gradients.ExactGradients`.
    """

    arms: Mapping[str, Estimator]
    """By name."""
    measures: tuple[str, ...] = ("direction_bias", "cosine", "scale", "noise_to_signal")
    """Columns."""
    seeds: int = 10
    """Policies."""
    kl_coef: float = 0.5
    """beta."""
    gamma: float = 1.0
    """Discount of the objective whose gradient is the truth."""
    draws: int = 2048
    """Updates to draw where they cannot be enumerated."""

    @property
    def names(self) -> tuple[str, ...]:
        """The arms."""
        return tuple(self.arms)

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns of the table."""
        return self.measures

    def batches(self, points: Sequence[Point]) -> list[tuple[Point, ...]]:
        """Return the points one by one."""
        return [(point,) for point in points]

    def run(self, points: Sequence[Point]) -> list[Row]:
        """Enumerate."""
        return [self._row(self.arms[point.arm], point.seed) for point in points]

    def _row(self, arm: Estimator, seed: int) -> Row:
        task = load_task("toy15")
        envs: Any = gym.make_vec("RLHF-v0", num_envs=16, task=task, kl_coef=self.kl_coef)
        if arm.granularity == "bandit":
            envs = wrappers.vector.SequenceBandit(envs)
        built_in, policy = BUILT_IN_AGENTS[arm.agent], drawn_policy(task, self.kl_coef, seed)
        # 4 episodes, so that also those updates can be enumerated whose episodes are not apart.
        size = {"episodes_per_update": max(4, arm.settings.get("group_size", 1))}
        settings = {**size, **built_in.preset, **arm.settings}
        agent = built_in.load()(envs, policy=policy, seed=seed, **settings)
        if arm.values == "exact":
            # Of a table a state's hidden numbers are its own, so the head holds V.
            known = exact_values(task, policy, self.kl_coef)
            with torch.no_grad():
                agent.policy.value_head.weight.copy_(known[None])
        found = exact_gradients(agent, gamma=self.gamma, draws=self.draws, seed=seed)
        return {name: float(getattr(found, name)) for name in self.measures}


def drawn_policy(task: Task, kl_coef: float, seed: int) -> nn.Module:
    """Return a table model near the way from the reference to the optimum.

    Args:
        task: whose reference is a table, with one prompt.
        kl_coef: beta of the objective.
        seed: of the noise on its logits.
    """
    found = solve(task, _LARGER * kl_coef).policy
    logits = torch.tensor(list(found.values()), dtype=torch.float64).log().T
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    model = copy.deepcopy(task.reference).requires_grad_(True)
    (table,) = model.parameters()
    with torch.no_grad():
        table.copy_(logits + _NOISE * noise)
    return model


def exact_values(task: Task, policy: nn.Module, kl_coef: float) -> torch.Tensor:
    """Return V of every state, [S] float32."""
    return torch.tensor(list(evaluate(task, policy, kl_coef).values.values())).float()
