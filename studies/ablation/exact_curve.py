"""How close runs come to the exact optimum, on tasks small enough to be enumerated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlhf_env import Task
from rlhf_env.exact import evaluate, solve
from rlhf_env.exact.enumerated import TokenProbabilities
from rlhf_env.exact.response_tree import check_enumerable

EXACT_POINTS = 20


@dataclass(frozen=True, kw_only=True)
class ExactCurve:
    """How close an agent comes to the exact optimum, on tasks that can be enumerated.

    The objective is the same for every run: the score minus beta times the KL, undiscounted.
    """

    task: Task | None
    """The task; None where it cannot be enumerated."""
    kl_coef: float
    """Beta."""
    optimum: float
    """J*, of the optimal policy."""
    every: int
    """Updates between two measurements."""
    points: dict[int, dict[str, float]] = field(default_factory=dict)
    """Update -> what was measured."""

    @classmethod
    def of(cls, task: Task, kl_coef: float, updates: int) -> ExactCurve:
        """Solve the task, if it is small enough."""
        every = max(1, updates // EXACT_POINTS)
        if not is_enumerable(task):
            return cls(task=None, kl_coef=kl_coef, optimum=0.0, every=every)
        optimum = solve(task, kl_coef).objective
        return cls(task=task, kl_coef=kl_coef, optimum=optimum, every=every)

    def record(self, agent: Any, metrics: dict[str, float]) -> None:
        """Measure the agent if it is time to; called after every update."""
        update = int(metrics["update"])
        if update == 1 or update % self.every == 0:
            self.points[update] = self.measure(agent)

    def measure(self, agent: Any) -> dict[str, float]:
        """Return J, J/J* and J* − J of an agent; nothing where they are not known."""
        if self.task is None or not isinstance(agent, TokenProbabilities):
            return {}
        return self._compared(evaluate(self.task, agent, self.kl_coef).objective)

    def estimate(self, figures: Mapping[str, float], episodes: int) -> dict[str, float]:
        """Return the same as `measure`, from episodes of an agent without known probabilities.

        Args:
            figures: ``score`` and ``kl`` (k1, nats per sequence), means over evaluation episodes.
            episodes: their number; kept as ``objective_episodes``.
        """
        if self.task is None:
            return {}
        objective = figures["score"] - self.kl_coef * figures["kl"]
        return self._compared(objective) | {"objective_episodes": float(episodes)}

    def _compared(self, objective: float) -> dict[str, float]:
        return {
            "objective": objective,
            "j_ratio": objective / self.optimum,
            "regret": self.optimum - objective,
        }


def is_enumerable(task: Task) -> bool:
    """Return True where the exact optimum can be computed."""
    try:
        check_enumerable(task.vocab_size, task.max_new_tokens)
    except ValueError:
        return False
    return len(task.prompts) == 1


def exact_frontier(task: Task) -> list[dict[str, float]]:
    """Return the highest score at each KL, traced by the optimal policies, by increasing KL.

    Args:
        task: the list is empty where it cannot be enumerated.
    """
    if not is_enumerable(task):
        return []
    solutions = [solve(task, 2.0 ** (6 - 0.1 * step)) for step in range(110)]
    return [{"kl": solution.kl, "score": solution.reward} for solution in solutions]
