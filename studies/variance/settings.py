"""What the study compares, and its budget. Nothing is run here; torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlhf_env.defaults import HORIZONS
from studies.experiment.axes import Axes
from studies.experiment.checks import check_grid, check_jobs, check_out
from studies.experiment.grid import Budget, RunSettings
from studies.experiment.numbers import whole_number


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the study; the first row is what the others are compared with."""

    granularity: str
    density: str

    @property
    def label(self) -> str:
        """Return for example ``token, terminal``."""
        return f"{self.granularity}, {self.density}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is measured, and how much of it."""

    task: str = "reviews"
    """A built-in task: reviews, toy15."""
    rollouts: int = 96
    """Independent rollouts at the reference policy, one gradient each per setting."""
    episodes: int = 64
    """Episodes per rollout, and per update in training."""
    updates: int = 40
    """Updates after which a training run is given up."""
    seeds: int = 5
    """Training runs per setting and agent."""
    agents: tuple[str, ...] = ("ppo", "grpo")
    """Agents that are trained: ppo, grpo."""
    macro: int = 4
    """Tokens per macro action."""
    every: int = 4
    """Tokens between two payments of the density every_N."""
    seed: int = 0
    """Seed of the rollouts; training runs have the seeds from 0."""
    jobs: int = 2
    """Processes that train."""
    out: Path = Path("runs/variance")
    """Folder that gets noise.csv, episodes.csv and variance.png."""

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The rows: granularities under the terminal reward, densities for tokens."""
        granularities = ("token", f"macro_{self.macro}", "bandit")
        densities = (f"every_{self.every}", "prefix_difference", "potential", "prefix_reward")
        rows = [Setting(granularity=name, density="terminal") for name in granularities]
        rows += [Setting(granularity="token", density=name) for name in densities]
        return tuple(rows)

    @property
    def budget(self) -> Budget:
        """What is the same for every training run."""
        return Budget(task=self.task, updates=self.updates, episodes_per_update=self.episodes)

    def run(self, setting: Setting, agent: str, seed: int) -> RunSettings:
        """Return one training run: the agent's own settings, without a discount."""
        return RunSettings(
            agent=agent,
            gamma=1.0,
            density=setting.density,
            granularity=setting.granularity,
            gae_lambda=None,
            kl_coef=None,
            group_size=None,
            seed=seed,
            budget=self.budget,
        )

    def runs(self) -> list[RunSettings]:
        """Return all training runs; the seeds turn slowest."""
        return [
            self.run(setting, agent, seed)
            for seed in range(self.seeds)
            for agent in self.agents
            for setting in self.settings
        ]


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before a model is loaded.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    # The group of GRPO's own default; the other axes represent the runs of the study.
    check_grid(Axes(agent=study.agents, group_size=(8,), seeds=study.seeds), study.budget)
    check_jobs(study.jobs)
    if study.task not in HORIZONS:
        names = ", ".join(HORIZONS)
        raise ValueError(f"task must be one of {names}, got {study.task!r}; the study is of these")
    # The mean of three rollouts is what has to reach the score.
    least = {"rollouts": 3, "updates": 3, "macro": 2, "every": 2, "seed": 0}
    for name, minimum in least.items():
        whole_number(name, getattr(study, name), minimum)
    _check_lengths(study)
    check_out(study.out)


def _check_lengths(study: Study) -> None:
    """Refuse spans of more tokens than a response has, both at once."""
    horizon = HORIZONS[study.task]
    given = {name: getattr(study, name) for name in ("macro", "every")}
    beyond = {f"--{name}": tokens for name, tokens in given.items() if tokens > horizon}
    if beyond:
        fitting = " ".join(f"{option} {horizon}" for option in beyond)
        raise ValueError(
            f"{' and '.join(beyond)} must be at most the {horizon} tokens of the task "
            f"{study.task}, got {' and '.join(map(str, beyond.values()))}; write {fitting}, or less"
        )
