"""Several runs of a grid at once: what `studies.ablation.execute` does, on a stack."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv
from torch import Tensor

from agents import Agent
from agents.stacked.evaluation import eval_episodes, evaluate_stack
from agents.stacked.stack import Stack
from rlhf_env.rewards.own_randomness import kept_randomness
from rlhf_env.task import Task
from studies.ablation.batched.exact_curves import ExactCurves
from studies.ablation.batched.plan import Batch
from studies.ablation.episodes import PROMPTS, shown_episodes
from studies.ablation.execute import execute
from studies.execution.pool import Outcome, attempt, one_line
from studies.experiment.build import SHAPING, make_agent, make_envs, run_task
from studies.experiment.density_checks import check_horizon
from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult


def execute_batch(batch: Batch) -> list[Outcome[RunSettings, RunResult]]:
    """Train and evaluate the agents of a batch; what keeps them from it sends each off alone.

    Returns:
        How each run ended, in their order; the time of a run is its share of the batch's.
    """
    if len(batch.runs) > 1:
        try:
            return _together(batch.runs)
        except Exception:
            # Whichever run it came from: alone each gets what is its own, the same numbers or the
            # same error.
            pass
    return [attempt(execute, run) for run in batch.runs]


def _together(runs: Sequence[RunSettings]) -> list[Outcome[RunSettings, RunResult]]:
    begun = time.perf_counter()
    task = run_task(runs[0])
    stack = Stack(make_agents(runs, task))
    updates = runs[0].budget.updates
    truth = ExactCurves.of(task, stack.agents, updates)
    with kept_randomness():
        before = _examples(stack, "before")
    curves = _train(stack, truth, updates)
    rows = _evaluated(stack, truth, runs[0].budget.eval_episodes)
    after = _examples(stack, "after") if stack.present else {}
    seconds = (time.perf_counter() - begun) / len(runs)
    ended = []
    for number, run in enumerate(runs):
        if (error := stack.failures.get(number)) is not None:
            ended.append(_failed(run, error, seconds))
            continue
        points = truth.curves[number].points
        result = RunResult(
            row=rows[number],
            curve=[point | points.get(int(point["update"]), {}) for point in curves[number]],
            samples=[*before[number], *after[number]],
        )
        ended.append(Outcome(run=run, result=result, seconds=seconds))
    return ended


def make_agents(runs: Sequence[RunSettings], task: Task) -> list[Agent]:
    """Return the agents of some runs; those of equal environments share one.

    Raises:
        ValueError: if a density or a granularity does not suit the task.
    """
    known: dict[tuple[Any, ...], VectorEnv[Any, Any, Any]] = {}
    made = []
    for run in runs:
        for name in (run.density, run.granularity):
            check_horizon(name, run.budget.every_k, task.max_new_tokens)
        # The discount of an agent is that of its shaping.
        gamma = run.gamma if run.density in SHAPING else None
        key = run.density, run.granularity, run.kl_coef, gamma
        if key not in known:
            known[key] = make_envs(run, task)
        made.append(make_agent(run, known[key]))
    return made


def _train(stack: Stack, truth: ExactCurves, updates: int) -> list[list[dict[str, float]]]:
    """Return the figures of every update of each run."""
    curves: list[list[dict[str, float]]] = [[] for _ in stack.agents]
    size = stack.agents[0].episodes_per_update
    for update in range(1, updates + 1):
        begun = time.perf_counter()
        figures = stack.learn_once()
        # As if each had its share of the time.
        share = (time.perf_counter() - begun) / max(1, len(stack.numbers))
        counts = {"update": float(update), "episodes": float(update * size)}
        for number, point in zip(stack.numbers, _points(figures), strict=True):
            tokens = point["response_length"] * size
            curves[number].append({**counts, **point, "tokens_per_second": tokens / share})
        truth.record(stack.present, stack.numbers, update)
    return curves


def _points(figures: dict[str, Tensor]) -> list[dict[str, float]]:
    """Return [R] figures by name as R dictionaries of numbers."""
    columns = [values.tolist() for values in figures.values()]
    return [dict(zip(figures, row, strict=True)) for row in zip(*columns, strict=True)]


def _evaluated(stack: Stack, truth: ExactCurves, episodes: int) -> dict[int, dict[str, float]]:
    """Return the row of each run that did not fail."""
    if not stack.present:
        return {}
    found = evaluate_stack(stack, episodes)
    measured = truth.measure(stack.present, stack.numbers)
    return {
        number: {
            **figures,
            **(exact or truth.curves[number].estimate(figures, episodes)),
            **truth.curves[number].landmarks,
        }
        for number, figures, exact in zip(stack.numbers, found, measured, strict=True)
    }


def _examples(stack: Stack, stage: str) -> dict[int, list[dict[str, Any]]]:
    """Return the example episodes of each run; see `studies.ablation.episodes`."""
    group_size = stack.present[0].config.group_size
    seeds = [0] * len(stack.present)
    drawn = eval_episodes(stack, stack.policy, PROMPTS * group_size, seeds, group_size)
    return {
        number: shown_episodes(agent, rollout, stage)
        for number, agent, rollout in zip(stack.numbers, stack.present, drawn, strict=True)
    }


def _failed(run: RunSettings, error: ValueError, seconds: float) -> Outcome[RunSettings, RunResult]:
    where = "".join(traceback.format_exception(error))
    return Outcome(run=run, result=None, seconds=seconds, error=one_line(error), traceback=where)
