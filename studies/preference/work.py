"""The work of a job: a method learns from its data, and every point of its curve is exact."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pandas as pd

import agents
from agents import Agent
from rlhf_env import exact
from rlhf_env.exact.best_of_n import best_of_n
from studies.preference.data import TableReward, all_responses, as_groups, draw_pairs, fitted_reward
from studies.preference.settings import DIRECT, Job, Study
from studies.results.csv_files import write_csv

Row = dict[str, float | bool]
_CLASSES = {"dpo": "DPO", "ipo": "IPO", "kto": "KTO", "simpo": "SimPO", "tdpo": "TDPO"}


def points_file(study: Study, job: Job) -> Path:
    """Return where the points of a job are kept."""
    return study.out / "points" / f"{job.name}.csv"


def make_points(study: Study, job: Job) -> None:
    """Do the work of a job and keep its points."""
    given = {"method": job.method, "pairs": job.pairs, "seed": job.seed}
    points = pd.DataFrame([given | row for row in curve(study, job)])
    write_csv(points_file(study, job), points)


def curve(study: Study, job: Job) -> Iterator[Row]:
    """Yield the points of a job: ``step``, ``kl``, ``gold`` (E[r]), ``share`` (J/J*), ``is_end``.

    The end is the last update, or the n that the reward model itself finds best.
    """
    pairs = draw_pairs(job.pairs, job.seed)
    if job.method in DIRECT:
        with warnings.catch_warnings():
            # There is one prompt only, which the study's page says.
            warnings.filterwarnings("ignore", message="preferences hold one prompt")
            agent = _envs_agent(study, job, preferences=as_groups(pairs))
        yield from _learning(study, agent)
        return
    reward = fitted_reward(pairs, study.ridge)
    if job.method == "reward_ppo":
        yield from _learning(study, _envs_agent(study, job, reward=reward))
    elif job.method == "best_of_n":
        yield from _best_of_n(study, reward)
    else:
        task = all_responses().task
        found = exact.solve(dataclasses.replace(task, reward=reward), task.kl_coef)
        yield _point(0, found.policy, is_end=True)


def _envs_agent(study: Study, job: Job, reward: TableReward | None = None, **data: object) -> Agent:
    """Return a preference agent, or PPO that is paid by a fitted reward."""
    task = all_responses().task
    paid = task if reward is None else dataclasses.replace(task, reward=reward)
    envs = gym.make_vec("RLHF-v0", num_envs=study.batch, task=paid)
    made = getattr(agents, _CLASSES.get(job.method, "PPO"))
    # Two responses of each pair.
    episodes = study.batch if reward is not None else 2 * study.batch
    common = {"learning_rate": study.learning_rate, "seed": job.seed}
    return made(envs, episodes_per_update=episodes, **common, **data)


def _learning(study: Study, agent: Agent) -> Iterator[Row]:
    for update in range(study.updates + 1):
        is_end = update == study.updates
        if is_end or update % study.every == 0:
            yield _point(update, agent, is_end=is_end)
        if not is_end:
            agent.update(agent.collect())


def _best_of_n(study: Study, reward: TableReward) -> Iterator[Row]:
    task = all_responses().task
    judged = dataclasses.replace(task, reward=reward)
    sizes = [2**k for k in range(study.largest_n.bit_length())]
    found = [best_of_n(judged, n) for n in sizes]
    best = max(found, key=lambda one: one.reward - task.kl_coef * one.kl)
    for n, one in zip(sizes, found, strict=True):
        yield _point(n, one.policy, is_end=one is best)


def _point(step: int, policy: object, *, is_end: bool) -> Row:
    task = all_responses().task
    found = exact.evaluate(task, policy, task.kl_coef)  # type: ignore[arg-type]
    share = found.objective / exact.solve(task, task.kl_coef).objective
    return {"step": step, "kl": found.kl, "gold": found.reward, "share": share, "is_end": is_end}
