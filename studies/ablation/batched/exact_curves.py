"""How close many runs come to the exact optimum, measured at once where that is cheap."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents import Agent
from agents.rollouts.collect import base_environment
from rlhf_env import Task
from rlhf_env.exact.several import ManyPolicies
from rlhf_env.tasks.automaton_lm import AutomatonLM
from rlhf_env.tasks.table_lm import TableLM
from studies.ablation.exact_curve import ExactCurve


@dataclass(frozen=True, kw_only=True)
class ExactCurves:
    """The curves of R runs of one task; see `ExactCurve`."""

    curves: list[ExactCurve]
    """One for each run."""
    policies: ManyPolicies | None
    """Evaluates tables of logits; None where the policies are no tables, or nothing is known."""

    @classmethod
    def of(cls, task: Task, agents: Sequence[Agent], updates: int) -> ExactCurves:
        """Solve the task for each beta, if it can be solved."""
        coefs = [base_environment(agent.envs).kl_coef for agent in agents]
        solved = {coef: ExactCurve.of(task, coef, updates) for coef in set(coefs)}
        # Each run keeps points of its own.
        curves = [dataclasses.replace(solved[coef], points={}) for coef in coefs]
        is_table = all(_logits(agent) is not None for agent in agents)
        is_known = curves[0].task is not None and is_table
        return cls(curves=curves, policies=ManyPolicies.of(task) if is_known else None)

    def record(self, agents: Sequence[Agent], numbers: Sequence[int], update: int) -> None:
        """Measure some of the agents after an update, if it is time to.

        Args:
            agents: those that are still there.
            numbers: which of the R runs they are.
            update: 1, 2, ...
        """
        if self.policies is None:
            for agent, number in zip(agents, numbers, strict=True):
                self.curves[number].record(agent, {"update": float(update)})
            return
        if self.curves[0].is_due(update, agents[0]):
            found = self.measure(agents, numbers)
            for number, point in zip(numbers, found, strict=True):
                self.curves[number].points[update] = point

    def measure(self, agents: Sequence[Agent], numbers: Sequence[int]) -> list[dict[str, float]]:
        """Return what `ExactCurve.measure` does of each of some agents."""
        curves = [self.curves[number] for number in numbers]
        if self.policies is None:
            return [curve.measure(agent) for curve, agent in zip(curves, agents, strict=True)]
        tables = torch.stack([_logits(agent) for agent in agents])  # type: ignore[arg-type]
        if self.policies.tree is not None:
            # The table of a task that was shortened is longer than it.
            tables = tables[:, : self.policies.tree.num_states]
        logprobs = tables.log_softmax(dim=-1).numpy()
        coefs = np.array([curve.kl_coef for curve in curves])
        objectives = self.policies.objectives(logprobs, coefs)
        return [
            curve.compared(float(objective))
            for curve, objective in zip(curves, objectives, strict=True)
        ]


def _logits(agent: Any) -> Tensor | None:
    """Return the logits of an agent that is a table, float64 by state; None for others."""
    model, temperature = agent.policy.model, agent.policy.temperature
    with torch.no_grad():
        if isinstance(model, TableLM):
            return model.lm_head.weight.T.double().cpu() / temperature
        if not isinstance(model, AutomatonLM) or temperature != 1.0:
            return None
        if model.config.policy == "transformer":
            return None
        logits = model.state_logits()
        return None if logits is None else logits.double().cpu()
