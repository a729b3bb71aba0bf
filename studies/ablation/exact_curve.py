"""How close runs come to the exact optimum, on tasks whose optimum is known.

Those are the tasks small enough to be enumerated, and automaton tasks of any horizon.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents import Agent, collect
from rlhf_env import Task
from rlhf_env.exact import evaluate, regret, solve
from rlhf_env.exact.automaton import ChoosesByState, automaton_of
from rlhf_env.exact.dialogue_tree import enumerate_dialogue
from rlhf_env.exact.enumerated import TokenProbabilities
from rlhf_env.exact.response_tree import check_enumerable
from studies.statistics.arrival import gained_share

EXACT_POINTS = 20
# Of each estimate of a regret; it has little variance.
SAMPLED_EPISODES = 64
# Of the episodes of estimates, which are others than those of training.
SAMPLED_SEED = (0, 1)


@dataclass(frozen=True, kw_only=True)
class ExactCurve:
    """How close an agent comes to the exact optimum, where that is known.

    The objective is the same for every run: the score minus beta times the KL, undiscounted. It is
    enumerated, or computed by dynamic programming for policies that are tables of an automaton's
    states, which costs a tenth of an update at most; for other policies of automaton tasks J* − J
    is estimated on episodes of theirs, which costs about as much as an update and is done less
    often.
    """

    task: Task | None
    """The task; None where its optimum is not known."""
    kl_coef: float
    """Beta."""
    optimum: float
    """J*, of the optimal policy."""
    reference: float
    """J of the reference, where training starts."""
    is_automaton: bool
    """Whether the score is a function of an automaton's state."""
    every: int
    """Updates between two measurements that take as long as an update."""
    points: dict[int, dict[str, float]] = field(default_factory=dict)
    """Update -> what was measured."""

    @classmethod
    def of(cls, task: Task, kl_coef: float, updates: int) -> ExactCurve:
        """Solve the task, if it can be solved."""
        is_known = is_solvable(task)
        return cls(
            task=task if is_known else None,
            kl_coef=kl_coef,
            optimum=solve(task, kl_coef).objective if is_known else math.nan,
            reference=_reference_objective(task, kl_coef) if is_known else math.nan,
            is_automaton=automaton_of(task) is not None,
            every=max(1, updates // EXACT_POINTS),
        )

    @property
    def landmarks(self) -> dict[str, float]:
        """J* and J of the reference, where they are known."""
        if self.task is None:
            return {}
        return {"optimum": self.optimum, "reference_objective": self.reference}

    def record(self, agent: Any, metrics: dict[str, float]) -> None:
        """Measure the agent if it is time to; called after every update."""
        update = int(metrics["update"])
        if self.is_due(update, agent):
            self.points[update] = self.measure(agent) or self._sample(agent)

    def is_due(self, update: int, agent: Any) -> bool:
        """Return whether an agent is to be measured after an update."""
        return update == 1 or update % self.every == 0 or self._is_cheap(agent)

    def measure(self, agent: Any) -> dict[str, float]:
        """Return J, J/J* and J* − J of an agent; nothing where they are not known."""
        if self.task is None:
            return {}
        if self._is_cheap(agent):
            return self.compared(evaluate(self.task, agent.policy.model, self.kl_coef).objective)
        # Enumerating what a transformer does takes longer than sampling it.
        is_sampled = self.is_automaton and isinstance(agent, Agent)
        is_telling = isinstance(agent, TokenProbabilities) and is_enumerable(self.task)
        if is_sampled or not is_telling:
            return {}
        return self.compared(evaluate(self.task, agent, self.kl_coef).objective)

    def estimate(self, figures: Mapping[str, float], episodes: int) -> dict[str, float]:
        """Return the same as `measure`, estimated from evaluation episodes of an agent.

        Args:
            figures: ``regret``, where it was estimated from the agent's probabilities; else
                ``score`` and ``kl`` (k1, nats per sequence); means over the episodes.
            episodes: their number; kept as ``objective_episodes``.
        """
        if self.task is None:
            return {}
        objective = figures["score"] - self.kl_coef * figures["kl"]
        if "regret" in figures:
            objective = self.optimum - figures["regret"]
        if not math.isfinite(objective):
            return {}
        return self.compared(objective) | {"objective_episodes": float(episodes)}

    def _sample(self, agent: Any) -> dict[str, float]:
        """Estimate the same from episodes that are drawn for it; nothing for agents of others."""
        if self.task is None or not isinstance(agent, Agent) or self.kl_coef <= 0:
            return {}
        rollout = collect(agent.envs, agent.policy, SAMPLED_EPISODES, seed=SAMPLED_SEED)
        found, _ = regret(self.task, rollout, agent.policy, self.kl_coef)
        return self.compared(self.optimum - found)

    def _is_cheap(self, agent: Any) -> bool:
        """Return whether the agent's policy is a table of an automaton's states."""
        if not self.is_automaton or not isinstance(agent, Agent) or agent.policy.temperature != 1.0:
            return False
        model = agent.policy.model
        return isinstance(model, ChoosesByState) and model.state_logits() is not None

    def compared(self, objective: float) -> dict[str, float]:
        """Return what is reported of an objective J."""
        found = {
            "objective": objective,
            "j_ratio": objective / self.optimum,
            "regret": self.optimum - objective,
        }
        if self.optimum > self.reference:
            found["gained"] = float(gained_share(objective, self.reference, self.optimum))
        return found


def is_solvable(task: Task) -> bool:
    """Return True where the exact optimum can be computed."""
    if len(task.prompts) != 1:
        return False
    return automaton_of(task) is not None or is_enumerable(task)


def _reference_objective(task: Task, kl_coef: float) -> float:
    return evaluate(task, task.reference, kl_coef).objective


def is_enumerable(task: Task) -> bool:
    """Return True where all responses, or all that can be said, can be listed."""
    if len(task.prompts) != 1:
        return False
    try:
        if task.respond is None:
            check_enumerable(task.vocab_size, task.max_new_tokens)
        else:
            enumerate_dialogue(task, 0)
    except ValueError:
        return False
    return True


def exact_frontier(task: Task) -> list[dict[str, float]]:
    """Return the highest score at each KL, traced by the optimal policies, by increasing KL.

    Args:
        task: the list is empty where it cannot be enumerated.
    """
    if not is_enumerable(task):
        return []
    solutions = [solve(task, 2.0 ** (6 - 0.1 * step)) for step in range(110)]
    return [{"kl": solution.kl, "score": solution.reward} for solution in solutions]
