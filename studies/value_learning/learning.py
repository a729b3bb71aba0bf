"""One run of the study: an agent on data that do not change, or in its environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym

from agents import VAS, Agent, ExactReturns, QSharp, Replay, fit_returns
from agents.rollouts.kl_reward import with_provenance
from agents.settings import BUILT_IN_AGENTS
from rlhf_env.exact import evaluate, solve
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from studies.statistics.arrival import NEVER, gained_share
from studies.value_learning.data import all_responses, drawn_responses, uniform_policy
from studies.value_learning.settings import GROUP, SMALL, Job

Row = dict[str, Any]
GUIDED = {"q_sharp": QSharp, "vas": VAS}
FRESH = 32
"""Episodes of an update in the environment."""
BATCH = 64
"""Episodes of an update on data that do not change."""
CAPACITY = 4096
ARRIVED = 0.95


def run(job: Job) -> Row:
    """Return what a run came to: its settings, J over J*, and the share gained.

    ``arrival`` is the number of fresh episodes after which 95 % of J* − J of the reference was
    gained, infinity where it never was.
    """
    task = load_task(job.task) if job.task == SMALL else load_task(job.task, policy="timed_table")
    row: Row = {name: getattr(job, name) for name in _SHOWN}
    if job.known.agent in GUIDED:
        return row | _figures(task, _guided(job, task))
    if job.part == "arrival":
        return row | _in_environment(job, task)
    agent = _agent(job, task, BATCH)
    if job.part in ("fixed", "breaks"):
        data = all_responses(agent)
    else:
        behavior = uniform_policy(task.vocab_size) if job.part == "uniform" else task.reference
        data = drawn_responses(agent, behavior, job.size, job.seed)
    _fit(agent, data, job)
    return row | _figures(task, agent.policy.model)


_SHOWN = ("part", "task", "method", "ratio", "rate", "size", "seed")


def _agent(job: Job, task: Task, episodes: int, **arguments: Any) -> Agent:
    known = BUILT_IN_AGENTS[job.known.agent]
    envs: Any = gym.make_vec("RLHF-v0", num_envs=min(episodes, 64), task=task)
    settings: dict[str, Any] = {
        "episodes_per_update": episodes,
        "learning_rate": job.rate,
        "max_grad_norm": 10.0,
        "seed": job.seed,
        **known.preset,
        **job.known.settings,
    }
    if job.part != "arrival":
        settings |= {"epochs": 1, "minibatches": 1}
    elif job.ratio and job.known.agent != "ppo":
        # About as many episodes in each step as without old ones; PPO takes 16 steps anyway.
        settings["minibatches"] = job.ratio
    return known.load()(envs, **settings, **arguments)


def _fit(agent: Agent, data: Rollout, job: Job) -> None:
    """Learn from the same episodes again and again, at a step size that falls to nothing."""
    replay = Replay(capacity=len(data))
    replay.add(with_provenance(data, agent.base), 0, agent.base.task.pad_id)
    for update in range(job.updates):
        for group in agent.learner.optimizer.param_groups:
            group["lr"] = job.rate * (1.0 - update / job.updates) ** 2
        drawn = replay.draw(BATCH, update, seed=job.seed, groups=True)
        agent.update(data if drawn is None else drawn.rollout)


def _in_environment(job: Job, task: Task) -> Row:
    """Train on fresh episodes, and old ones, until 95 % is gained or the episodes are used up."""
    arguments: dict[str, Any] = {}
    if job.ratio:
        arguments["replay"] = Replay(CAPACITY, job.ratio)
    agent = _agent(job, task, FRESH, **arguments)
    while True:
        agent.update(agent.collect())
        figures = _figures(task, agent.policy.model)
        if figures["gained"] >= ARRIVED:
            return {**figures, "arrival": float(agent.episodes)}
        if agent.episodes >= job.episodes:
            return {**figures, "arrival": NEVER}


def _guided(job: Job, task: Task) -> Any:
    """Return guided decoding by exact returns, or by those of the reference's responses."""
    kind = GUIDED[job.known.agent]
    if job.part == "fixed":
        return kind(task, ExactReturns(task))
    envs: Any = gym.make_vec("RLHF-v0", num_envs=64, task=task)
    agent = _agent(replace(job, method="OREO"), task, GROUP)
    data = drawn_responses(agent, task.reference, job.size, job.seed)
    passes = max(1, job.updates * BATCH // job.size)
    returns = fit_returns(
        envs, data, batch_size=BATCH, passes=passes, learning_rate=0.05, seed=job.seed
    )
    return kind(task, returns)


def _figures(task: Task, policy: Any) -> Row:
    best = solve(task, task.kl_coef).objective
    start = evaluate(task, task.reference, task.kl_coef).objective
    found = evaluate(task, policy, task.kl_coef).objective
    return {
        "share": found / best,
        "gained": float(gained_share(found, start, best)),
    }
