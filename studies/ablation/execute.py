"""One run of an ablation: build the environment, the wrappers and the agent; train; evaluate."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from agents import Agent, BestOfN, collect, train
from agents.evaluation.evaluate import against_reference
from agents.evaluation.metrics import rollout_metrics
from agents.policy import Policy
from agents.rollouts.collect import base_environment
from studies.ablation.episodes import example_episodes
from studies.ablation.exact_curve import ExactCurve
from studies.experiment.build import make_agent, make_envs, run_task
from studies.experiment.checks import check_horizon
from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult


def execute(run: RunSettings) -> RunResult:
    """Train and evaluate one agent."""
    task = run_task(run)
    for name in (run.density, run.granularity):
        check_horizon(name, run.budget.every_k, task.max_new_tokens)
    envs = make_envs(run, task)
    agent = make_agent(run, envs)
    truth = ExactCurve.of(task, base_environment(envs).kl_coef, run.budget.updates)
    before = example_episodes(agent, envs, "before")
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
    evaluated = _numbers(evaluate(agent, envs, episodes))
    return RunResult(
        row={
            **evaluated,
            **(truth.measure(agent) or truth.estimate(evaluated, episodes)),
            **truth.landmarks,
        },
        curve=[_numbers(point) | truth.points.get(int(point["update"]), {}) for point in metrics],
        samples=[*before, *example_episodes(agent, envs, "after")],
    )


def evaluate(agent: Any, envs: VectorEnv[Any, Any, Any], episodes: int) -> dict[str, float]:
    """Return an agent's metrics on the task's evaluation prompts.

    If an agent only acts, its episodes are scored and compared with the reference's.
    """
    if isinstance(agent, Agent | BestOfN):
        return agent.evaluate(episodes)
    base = base_environment(envs)
    task = base.task
    reference = Policy(base.mdp.reference.model, task.vocab_size)
    ours, theirs = (
        collect(envs, actor, episodes, prompts=task.eval_prompts, seed=0)
        for actor in (agent, reference)
    )
    return {**rollout_metrics(ours, task), **against_reference(ours, theirs, task)}


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    # An agent may report numbers of NumPy or torch, which no record can hold.
    return {name: float(value) for name, value in metrics.items()}
