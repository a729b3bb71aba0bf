"""One run of an ablation: build the environment, the wrappers and the agent; train; evaluate."""

from __future__ import annotations

from typing import Any

from agents import train
from agents.rollouts.collect import base_environment
from rlhf_env.rewards.own_randomness import kept_randomness
from studies.ablation.episodes import example_episodes
from studies.ablation.exact_curve import ExactCurve
from studies.ablation.offline_data import offline_data
from studies.experiment.acting import evaluated, untrained
from studies.experiment.build import make_agent, make_envs, run_task
from studies.experiment.density_checks import check_horizon
from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult


def execute(run: RunSettings) -> RunResult:
    """Train and evaluate one agent."""
    task = run_task(run)
    for name in (run.density, run.granularity):
        check_horizon(name, run.budget.every_k, task.max_new_tokens)
    envs = make_envs(run, task)
    agent = make_agent(run, envs, offline_data(run))
    truth = ExactCurve.of(task, base_environment(envs).kl_coef, run.budget.updates)
    with kept_randomness():
        before = example_episodes(*untrained(run, task, agent), "before")
    size = run.budget.episodes_per_update
    metrics = train(
        agent,
        envs,
        run.budget.updates * size,
        episodes_per_update=size,
        progress=False,
        callback=truth.record,
    )
    episodes = run.budget.eval_episodes
    found = _numbers(evaluated(agent, envs, episodes))
    return RunResult(
        row={
            **found,
            **(truth.measure(agent) or truth.estimate(found, episodes)),
            **truth.landmarks,
        },
        curve=[_numbers(point) | truth.points.get(int(point["update"]), {}) for point in metrics],
        samples=[*before, *example_episodes(agent, envs, "after")],
    )


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    # An agent may report numbers of NumPy or torch, which no record can hold.
    return {name: float(value) for name, value in metrics.items()}
