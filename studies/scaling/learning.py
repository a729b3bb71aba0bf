"""How many episodes one training run needs to gain most of what there is to gain."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rlhf_env.exact import evaluate, solve
from studies.experiment.build import make_agent, make_envs, run_task
from studies.scaling.settings import Job
from studies.statistics.arrival import TARGET, gained_share

# What tells the rows of runs apart; the rest of a row was measured.
KEY = ("family", "horizon", "agent", "density", "granularity", "gamma", "seed", "budget")
Row = dict[str, Any]


def learn(job: Job) -> Row:
    """Train until 90 % of what the reference lacks of J* is gained, or the updates are spent.

    Returns:
        The columns `KEY`, ``episodes`` drawn, whether it ``reached`` the target, and what was
        ``gained`` in the end, exactly: (J − J_ref) / (J* − J_ref).
    """
    task = run_task(job.run)
    envs = make_envs(job.run, task)
    agent = make_agent(job.run, envs)
    best = solve(task, task.kl_coef).objective
    start = evaluate(task, task.reference, task.kl_coef).objective
    gained = 0.0
    while gained < TARGET and agent.updates < job.updates:
        agent.update(agent.collect())
        objective = evaluate(task, agent.policy.model, task.kl_coef).objective
        gained = float(gained_share(objective, start, best))
    return {
        **key(job),
        "episodes": agent.episodes,
        "reached": gained >= TARGET,
        "gained": gained,
    }


def key(job: Job) -> Row:
    """Return the columns `KEY` of a run."""
    return {
        "family": job.family,
        "horizon": job.horizon,
        "agent": job.setting.agent,
        "density": job.setting.density,
        "granularity": job.setting.granularity,
        "gamma": job.setting.gamma,
        "seed": job.seed,
        "budget": job.updates * job.episodes,
    }


def with_known(jobs: list[Job], rows: pd.DataFrame) -> tuple[dict[Job, Row], list[Job]]:
    """Return the rows that an earlier command left for some runs, and the runs still to be done."""
    earlier = {tuple(row[name] for name in KEY): row for row in rows.to_dict("records")}
    known = {job: row for job in jobs if (row := earlier.get(tuple(key(job).values()))) is not None}
    return known, [job for job in jobs if job not in known]
