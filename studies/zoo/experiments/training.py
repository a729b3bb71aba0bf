"""Claims that training runs decide: arms over seeds, batched where they can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gymnasium.vector import VectorEnv

from agents import Agent, Replay, train
from agents.rollouts.collect import base_environment
from agents.stacked.evaluation import evaluate_stack
from agents.stacked.stack import Stack
from agents.stacked.stackable import PER_RUN, why_not_stackable
from studies.ablation.batched.exact_curves import ExactCurves
from studies.ablation.exact_curve import ExactCurve
from studies.ablation.offline_data import offline_data
from studies.experiment.acting import evaluated
from studies.experiment.build import make_agent, make_envs, run_task
from studies.experiment.grid import Budget, RunSettings
from studies.experiment.result import RunResult
from studies.experiment.task.family import FamilyOptions
from studies.zoo.claim import Point, Row

Envs = VectorEnv[Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: an agent with its settings, on a task with a density and a granularity."""

    agent: str
    """The name of a built-in agent."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the agent, besides those of the experiment."""
    density: str = "terminal"
    """When the score is paid; as in ablations."""
    granularity: str = "token"
    """What a decision is; as in ablations."""
    task: str | None = None
    """Another task than that of the experiment."""
    updates: int | None = None
    """Other updates than those of the experiment."""
    wrap: Callable[[Envs], Envs] | None = None
    """What is put around the environment."""
    replay: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `agents.Replay`; none is used without."""
    pairs: int | None = None
    """Comparisons of the reference's responses to learn from, for agents that can."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Arms that are trained for the same updates, seed by seed, and what is kept of each run.

    On tasks whose optimum is known every curve and row has the exact ``regret`` (J* − J),
    ``objective``, ``j_ratio`` and ``gained`` (the share of J* − J of the reference).
    """

    task: str
    """A built-in task, or "module:function" that returns one."""
    arms: Mapping[str, Arm]
    """By name."""
    measures: Mapping[str, Callable[[RunResult], float]]
    """Columns of the table; see `studies.zoo.experiments.measures`."""
    updates: int
    """Of the policy."""
    episodes: int = 32
    """Of an update."""
    learning_rate: float | None = None
    """Adam's; None takes the task's."""
    kl_coef: float | None = None
    """beta; None takes the task's."""
    policy: str | None = "timed_table"
    """What learns on tasks of families: the optimum is among the timed tables."""
    task_options: tuple[str, ...] = ()
    """Of the family, as name=value."""
    seeds: int = 10
    """Runs of each arm."""
    eval_episodes: int = 256
    """Of the evaluation after training."""
    probe: Callable[[Agent], Mapping[str, float]] | None = None
    """Further figures of a trained agent, for the row."""

    @property
    def names(self) -> tuple[str, ...]:
        """The arms."""
        return tuple(self.arms)

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns of the table."""
        return tuple(self.measures)

    def batches(self, points: Sequence[Point]) -> list[tuple[Point, ...]]:
        """Return the points in parts that can train as one stack."""
        kinds: dict[str, list[Point]] = {}
        for point in points:
            kinds.setdefault(self._kind(point.arm), []).append(point)
        found: list[tuple[Point, ...]] = []
        for alike in kinds.values():
            is_alone = len(alike) == 1 or why_not_stackable(self._made(alike[0])) is not None
            found += [(point,) for point in alike] if is_alone else [tuple(alike)]
        return found

    def run(self, points: Sequence[Point]) -> list[Row]:
        """Train the agents of a batch, together where there are several."""
        if len(points) == 1:
            return [self._row(self._alone(points[0]))]
        return [self._row(result) for result in self._together(points)]

    def _row(self, result: RunResult) -> Row:
        return {name: float(measure(result)) for name, measure in self.measures.items()}

    def _kind(self, arm: str) -> str:
        """Return what arms have in common that may train together."""
        chosen = self.arms[arm]
        fixed = {k: v for k, v in chosen.settings.items() if k not in PER_RUN}
        # A critic has an output for each discount, so those by term are apart.
        fixed["gamma"] = isinstance(chosen.settings.get("gamma"), Mapping)
        data = chosen.pairs, sorted(chosen.replay.items())
        return repr((chosen.agent, chosen.task, chosen.updates, data, sorted(fixed.items())))

    def _settings(self, point: Point) -> RunSettings:
        arm = self.arms[point.arm]
        budget = Budget(
            task=arm.task or self.task,
            updates=arm.updates or self.updates,
            episodes_per_update=self.episodes,
            learning_rate=self.learning_rate,
            eval_episodes=self.eval_episodes,
            family_options=FamilyOptions(policy=self.policy, task_options=self.task_options),
        )
        return RunSettings(
            agent=arm.agent,
            # Potential shaping needs it in the environment too.
            gamma=_number(arm.settings.get("gamma")),
            density=arm.density,
            granularity=arm.granularity,
            gae_lambda=None,
            kl_coef=self.kl_coef,
            group_size=None,
            seed=point.seed,
            budget=budget,
            preference_pairs=arm.pairs,
        )

    def _made(self, point: Point, known: dict[Any, Envs] | None = None) -> Agent:
        """Return an agent; those of equal environments share the one in ``known``."""
        run, arm = self._settings(point), self.arms[point.arm]
        known = {} if known is None else known
        shaping = run.gamma if run.density == "potential" else None
        key = run.density, run.granularity, run.kl_coef, shaping, run.budget.task, arm.wrap
        if key not in known:
            envs = make_envs(run, run_task(run))
            known[key] = envs if arm.wrap is None else arm.wrap(envs)
        more = {**arm.settings, **offline_data(run)}
        if arm.replay:
            more["replay"] = Replay(**arm.replay)
        return make_agent(replace(run, gamma=None), known[key], more)

    def _alone(self, point: Point) -> RunResult:
        agent, run = self._made(point), self._settings(point)
        envs, budget = agent.envs, run.budget
        truth = ExactCurve.of(agent.base.task, base_environment(envs).kl_coef, budget.updates)
        size = budget.episodes_per_update
        # The updates of a critic's warm-up are besides those of the policy.
        updates = budget.updates + getattr(agent.config, "critic_warmup_updates", 0)
        curve = train(
            agent,
            envs,
            updates * size,
            episodes_per_update=size,
            progress=False,
            callback=truth.record,
        )
        found = evaluated(agent, envs, budget.eval_episodes)
        row = {**found, **(truth.measure(agent) or truth.estimate(found, budget.eval_episodes))}
        points = [_numbers(p) | truth.points.get(int(p["update"]), {}) for p in curve]
        return RunResult(row=_numbers(row) | self._probed(agent), curve=points)

    def _together(self, points: Sequence[Point]) -> list[RunResult]:
        known: dict[Any, Envs] = {}
        stack = Stack([self._made(point, known) for point in points])
        updates = self._settings(points[0]).budget.updates
        truth = ExactCurves.of(stack.agents[0].base.task, stack.agents, updates)
        curves: list[list[dict[str, float]]] = [[] for _ in points]
        for update in range(1, updates + 1):
            figures = {name: values.tolist() for name, values in stack.learn_once().items()}
            if stack.failures:
                raise next(iter(stack.failures.values()))
            truth.record(stack.agents, stack.numbers, update)
            for number, curve in enumerate(curves):
                point = {name: values[number] for name, values in figures.items()}
                exact = truth.curves[number].points.get(update, {})
                curve.append({"update": float(update), **point, **exact})
        found = evaluate_stack(stack, self.eval_episodes)
        exact = truth.measure(stack.agents, stack.numbers)
        return [
            RunResult(row={**figures, **known_exactly, **self._probed(agent)}, curve=curve)
            for agent, figures, known_exactly, curve in zip(
                stack.agents, found, exact, curves, strict=True
            )
        ]

    def _probed(self, agent: Agent) -> dict[str, float]:
        return {} if self.probe is None else dict(self.probe(agent))


def _number(gamma: Any) -> float | None:
    return gamma if isinstance(gamma, float | int) else None


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items()}
