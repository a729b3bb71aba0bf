"""How many episodes a training run needs to reach a score."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pandas as pd

from studies.execution.results import all_results
from studies.experiment.build import make_agent, make_task
from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult
from studies.variance.environments import study_envs
from studies.variance.settings import Study

WINDOW = 3


def has_reached(scores: list[float], threshold: float) -> bool:
    """Return whether the last three rollouts' scores are at least the threshold on average."""
    return len(scores) >= WINDOW and math.fsum(scores[-WINDOW:]) / WINDOW >= threshold


def learn(run: RunSettings, threshold: float) -> RunResult:
    """Train until the score is reached or the updates are spent.

    Args:
        run: what to train.
        threshold: mean proxy score of the last three rollouts that is enough.

    Returns:
        ``episodes`` drawn and ``reached``, 1.0 or 0.0, and the score of every rollout.
    """
    envs = study_envs(run, make_task(run.budget.task))
    agent = make_agent(run, envs)
    scores: list[float] = []
    while True:
        rollout = agent.collect()
        scores.append(float(rollout.score.mean()))
        if has_reached(scores, threshold) or len(scores) == run.budget.updates:
            break
        agent.update(rollout)
    episodes = float(len(scores) * run.budget.episodes_per_update)
    return RunResult(
        row={"episodes": episodes, "reached": float(has_reached(scores, threshold))},
        curve=[{"update": float(i), "score": score} for i, score in enumerate(scores, start=1)],
    )


def measure_learning(study: Study, threshold: float, *, progress: bool = True) -> pd.DataFrame:
    """Return one row per training run: setting, agent, seed, episodes, reached.

    Raises:
        RuntimeError: if a run fails.
    """
    runs = study.runs()
    runner = partial(learn, threshold=threshold)
    results = all_results(runs, runner, study.jobs, _name, progress=progress)
    pairs = zip(runs, results, strict=True)
    return pd.DataFrame([_row(run, result, threshold) for run, result in pairs])


def _name(run: RunSettings) -> str:
    return f"the run {run.run_id}"


def _row(run: RunSettings, result: RunResult, threshold: float) -> dict[str, Any]:
    return {
        "granularity": run.granularity,
        "density": run.density,
        "agent": run.agent,
        "seed": run.seed,
        "episodes": int(result.row["episodes"]),
        "reached": bool(result.row["reached"]),
        "last_score": result.curve[-1]["score"],
        "threshold": threshold,
    }
