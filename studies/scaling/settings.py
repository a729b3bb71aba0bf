"""What the study compares, and its budget. Nothing is run here; torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rlhf_env.checks import check_count
from rlhf_env.tasks import task_families
from studies.experiment.agent_names import agent_fields
from studies.experiment.checks import check_jobs, check_out
from studies.experiment.grid import Budget, RunSettings
from studies.experiment.task.family import GRID_POLICY, FamilyOptions

# Those with which these agents come close to J* on every family at its shortest horizon.
LEARNING_RATES = {"ppo": 0.03}
LEARNING_RATE = 0.05
GROUP_SIZE = 8


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is varied at each horizon."""

    agent: str
    density: str = "terminal"
    granularity: str = "token"
    gamma: float = 1.0

    @property
    def label(self) -> str:
        """Return for example ``ppo, terminal, token, γ = 1``."""
        return f"{self.agent}, {self.density}, {self.granularity}, γ = {self.gamma:g}"


def settings_of(agent: str) -> list[Setting]:
    """Return the agent's plain setting, and those that differ from it in one thing.

    Agents that compare within a group look at the return of the whole episode only, which a dense
    reward leaves as it is. RLOO is run plain: its advantages are GRPO's, but for their scale.
    """
    plain = Setting(agent=agent)
    if agent == "rloo":
        return [plain]
    varied = [plain, replace(plain, granularity="bandit"), replace(plain, gamma=0.99)]
    if "group_size" in agent_fields(agent):
        return varied
    return [*varied, replace(plain, density="prefix_difference")]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is measured, and how much of it."""

    families: tuple[str, ...] = ("delay", "needles")
    """Families of tasks: brackets, chain, delay, lock, needles."""
    horizons: tuple[int, ...] = (8, 16, 32, 64)
    """Longest responses, in tokens."""
    agents: tuple[str, ...] = ("ppo", "grpo", "rloo", "reinforce")
    """Agents: ppo, grpo, rloo, reinforce, ..."""
    updates: int = 128
    """Updates after which a run is given up."""
    episodes: int = 32
    """Episodes per update."""
    seeds: int = 5
    """Runs per setting."""
    jobs: int = 2
    """Processes that train."""
    out: Path = Path("runs/scaling")
    """Folder that gets arrivals.csv and scaling.png; finished runs in it are kept."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run."""

    family: str
    horizon: int
    setting: Setting
    seed: int
    updates: int
    episodes: int

    @property
    def run(self) -> RunSettings:
        """The run as environments and agents are built from it."""
        agent = self.setting.agent
        has_groups = "group_size" in agent_fields(agent)
        return RunSettings(
            agent=agent,
            gamma=self.setting.gamma,
            density=self.setting.density,
            granularity=self.setting.granularity,
            gae_lambda=None,
            kl_coef=None,
            group_size=GROUP_SIZE if has_groups else None,
            seed=self.seed,
            budget=Budget(
                task=f"{self.family}-{self.horizon}",
                family_options=FamilyOptions(policy=GRID_POLICY),
                updates=self.updates,
                episodes_per_update=self.episodes,
                learning_rate=LEARNING_RATES.get(agent, LEARNING_RATE),
            ),
        )


def jobs_of(study: Study) -> list[Job]:
    """Return all runs; the seeds turn slowest."""
    return [
        Job(
            family=family,
            horizon=horizon,
            setting=setting,
            seed=seed,
            updates=study.updates,
            episodes=study.episodes,
        )
        for seed in range(study.seeds)
        for family in study.families
        for agent in study.agents
        for setting in settings_of(agent)
        for horizon in study.horizons
    ]


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before a model is made.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    for name in ("families", "horizons", "agents"):
        if not getattr(study, name):
            raise ValueError(f"{name} must name at least one, got none")
    for family in study.families:
        if family not in task_families():
            known = ", ".join(task_families())
            raise ValueError(f"families must be of {known}, got {family!r}")
    for horizon in study.horizons:
        check_count("horizons", horizon)
    for agent in study.agents:
        if "gamma" not in agent_fields(agent):
            raise ValueError(f"agents must have a discount, got {agent!r}; leave it out")
    for name in ("updates", "episodes", "seeds"):
        check_count(name, getattr(study, name))
    check_jobs(study.jobs)
    if study.episodes % GROUP_SIZE:
        raise ValueError(f"episodes must be a multiple of {GROUP_SIZE}, got {study.episodes}")
    check_out(study.out)
