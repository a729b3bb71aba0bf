"""What the study compares, and its budget. Nothing is run here; torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_env.checks import check_count
from rlhf_env.tasks import family_and_horizon, task_families
from studies.experiment.checks import check_jobs, check_out

POLICY = "timed_table"
"""A number for every time, state and token: the optimum is among the policies, and V among the
critics, which are 0 everywhere at first."""

LEARNING_RATE = 0.03

_DECOUPLED = {"critic_gae_lambda": 1.0}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "λ 1": {"gae_lambda": 1.0},
    "λ 0.95": {"gae_lambda": 0.95},
    "λ 0.95, critic's λ 1": {"gae_lambda": 0.95, **_DECOUPLED},
    "λ 0.95, warm-up": {"gae_lambda": 0.95, "critic_warmup_updates": 4},
    "λ 0.95, both": {"gae_lambda": 0.95, **_DECOUPLED, "critic_warmup_updates": 4},
    "λ by length, both": {
        "length_adaptive_lambda": 0.2,
        **_DECOUPLED,
        "critic_warmup_updates": 4,
    },
}
"""Settings of PPO by what is said of them; all begin with a critic that is 0 everywhere."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is measured, and how much of it."""

    tasks: tuple[str, ...] = ("delay-32", "delay-128", "needles-32")
    """Tasks of a family with their horizon."""
    updates: int = 8
    """Updates of the policy; those of a warm-up come before."""
    episodes: int = 32
    """Episodes per update."""
    seeds: int = 5
    """Runs per setting."""
    jobs: int = 2
    """Processes that train."""
    out: Path = Path("runs/critics")
    """Folder that gets curves.csv and critics.png."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run."""

    task: str
    arm: str
    seed: int
    updates: int
    episodes: int


def jobs_of(study: Study) -> list[Job]:
    """Return all runs; the seeds turn slowest."""
    return [
        Job(task=task, arm=arm, seed=seed, updates=study.updates, episodes=study.episodes)
        for seed in range(study.seeds)
        for task in study.tasks
        for arm in ARMS
    ]


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before a model is made.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    if not study.tasks:
        raise ValueError("tasks must name at least one, got none")
    for task in study.tasks:
        if family_and_horizon(task) is None:
            families = ", ".join(f"{name}-32" for name in task_families())
            raise ValueError(f"tasks must be of a family, such as {families}, got {task!r}")
    for name in ("updates", "episodes", "seeds"):
        check_count(name, getattr(study, name))
    if study.episodes % 4:
        raise ValueError(
            f"episodes must be a multiple of PPO's 4 minibatches, got {study.episodes}"
        )
    check_jobs(study.jobs)
    check_out(study.out)
