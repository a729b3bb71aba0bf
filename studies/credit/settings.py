"""What the study grades, and its budget. Nothing is run here; torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlhf_env.checks import check_count, check_number
from rlhf_env.tasks import is_task_name
from studies.experiment.checks import check_jobs, check_out

# In these a change of state is always for the better, so more credit is more right.
FAMILIES = ("needles", "chain")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is graded, and how much of it."""

    tasks: tuple[str, ...] = ("needles-8", "needles-32", "needles-128", "chain-32")
    """Tasks of the families needles and chain."""
    updates: tuple[int, ...] = (5, 50)
    """Updates of PPO after which its episodes are graded."""
    episodes: int = 64
    """Episodes per update."""
    learning_rate: float = 0.03
    """Step size of PPO on the table of logits."""
    graded: int = 256
    """Episodes whose credit is graded, drawn for it."""
    gae_lambdas: tuple[float, ...] = (0.0, 0.5, 0.95, 1.0)
    """Of GAE over PPO's critic."""
    continuations: tuple[int, ...] = (1, 4, 16)
    """Responses continued from each state for a Monte Carlo value."""
    pairs: int = 1000
    """Comparisons of the reference's responses that the reward model learns from."""
    seeds: int = 5
    """Agents, and reward models, per task."""
    jobs: int = 2
    """Processes."""
    out: Path = Path("runs/credit")
    """Folder that gets credit.csv."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One agent whose episodes are graded."""

    study: Study
    task: str
    seed: int


def jobs_of(study: Study) -> list[Job]:
    """Return all jobs; the seeds turn slowest."""
    return [
        Job(study=study, task=task, seed=seed)
        for seed in range(study.seeds)
        for task in study.tasks
    ]


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before a model is made.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    for task in study.tasks:
        if not is_task_name(task) or task.partition("-")[0] not in FAMILIES:
            raise ValueError(
                f"tasks must be of the families {' and '.join(FAMILIES)}, such as needles-32, "
                f"got {task!r}; in others a change of state can be for the worse"
            )
    for name in ("updates", "continuations"):
        for number in getattr(study, name):
            check_count(name, number)
    for number in study.gae_lambdas:
        check_number("gae_lambdas", number, minimum=0.0, maximum=1.0)
    for name, least in (("episodes", 1), ("graded", 1), ("pairs", 50), ("seeds", 1)):
        check_count(name, getattr(study, name), least)
    check_number("learning_rate", study.learning_rate, minimum=0.0)
    check_jobs(study.jobs)
    if not (study.tasks and study.updates):
        raise ValueError("tasks and updates must name at least one each, got none")
    check_out(study.out)
