"""The grid of an ablation: the budget, and the list of runs that the axes multiply to.

Nothing is run here and no file is touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
from dataclasses import dataclass, field
from typing import Any

import tyro

from rlhf_env.tasks import family_and_horizon
from studies.experiment.agent_names import (
    AGENT_AXES,
    agent_fields,
    takes_preferences,
    takes_replay,
)
from studies.experiment.axes import Axes
from studies.experiment.further_settings import assignments, takes
from studies.experiment.names import tokens_between_payments
from studies.experiment.task.family import FamilyOptions
from studies.experiment.task.spec import OwnTask

MAX_ID = 100
# What the runs of one agent, task and seed differ in, those that turn slowest first.
VARIED = (
    "gamma",
    "density",
    "granularity",
    "gae_lambda",
    "kl_coef",
    "kl_placement",
    "kl_estimator",
    "group_size",
    "preference_pairs",
    "set",
    "importance",
    "staleness",
    "replay_ratio",
)
# Those that earlier versions had not. They are neither printed nor kept where they are None, so
# that identifiers and records without them are what they were.
NEWER = ("preference_pairs", "set", "importance", "staleness", "replay_ratio")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run is of and what it may cost: the same for every run of one task."""

    task: tyro.conf.Suppress[str] = "toy15"
    """The task, where the axes name none and there is no model."""
    model: tyro.conf.Suppress[str | None] = None
    """The language model, where the task is made of one."""
    own: tyro.conf.OmitArgPrefixes[OwnTask] = field(default_factory=OwnTask)
    family_options: tyro.conf.OmitArgPrefixes[FamilyOptions] = field(
        # Identifiers of runs are hashes of what is printed: those of other tasks stay the same.
        default_factory=FamilyOptions,
        repr=False,
    )
    updates: int = 50
    """Updates of the policy per run; 0 evaluates untrained agents."""
    episodes_per_update: int = 32
    """Episodes (responses) that each update learns from."""
    learning_rate: float | None = None
    """Step size of the optimizer (none given: the agent's own, or the task's if it has one)."""
    every_k: int = 1
    """Tokens between two payments under the density every_k, with which alone it goes."""
    eval_episodes: int = 256
    """Episodes of the evaluation after training."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """One run: a point of the grid. A field that the agent does not have is None."""

    agent: str
    gamma: float | None
    density: str
    granularity: str
    gae_lambda: float | None
    kl_coef: float | None
    group_size: int | None
    seed: int
    budget: Budget
    kl_placement: str | None = None
    kl_estimator: str | None = None
    # See `NEWER`.
    preference_pairs: int | None = field(default=None, repr=False)
    set: str | None = field(default=None, repr=False)
    importance: str | None = field(default=None, repr=False)
    staleness: int | None = field(default=None, repr=False)
    replay_ratio: float | None = field(default=None, repr=False)

    @property
    def task_name(self) -> str:
        """What the task is called in tables: its name, or its model."""
        return self.budget.task if self.budget.model is None else self.budget.model

    @property
    def family_and_horizon(self) -> tuple[str, int] | None:
        """The family and the horizon of the task; None where it is of no family."""
        return None if self.budget.model else family_and_horizon(self.budget.task)

    @property
    def every_k(self) -> int | None:
        """Tokens between two payments; None where the density has no such number."""
        return tokens_between_payments(self.density, self.budget.every_k)

    @property
    def run_id(self) -> str:
        """A readable name, unique within a grid: letters, digits, dot, underscore, hyphen."""
        parts = [] if self.task_name == Budget().task else [self.task_name]
        options = self.budget.family_options
        parts += [part for part in (options.policy, *options.task_options) if part is not None]
        parts += [self.agent]
        parts += [f"g{self.gamma:g}"] if self.gamma is not None else []
        parts += [self.density, self.granularity]
        parts += [f"l{self.gae_lambda:g}"] if self.gae_lambda is not None else []
        parts += [f"kl{self.kl_coef:g}"] if self.kl_coef is not None else []
        parts += [part for part in (self.kl_placement, self.kl_estimator) if part is not None]
        parts += [f"n{self.group_size}"] if self.group_size is not None else []
        parts += [f"p{self.preference_pairs}"] if self.preference_pairs is not None else []
        parts += [self.set] if self.set is not None else []
        parts += [self.importance] if self.importance is not None else []
        parts += [f"d{self.staleness}"] if self.staleness is not None else []
        parts += [f"r{self.replay_ratio:g}"] if self.replay_ratio is not None else []
        plain = "-".join([*parts, f"s{self.seed}"])
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", plain)
        exact = [self.gamma, self.gae_lambda, self.kl_coef, self.replay_ratio]
        shortened = any(x is not None and float(f"{x:g}") != x for x in exact)
        if safe == plain and len(safe) <= MAX_ID and not shortened:
            return safe
        # The readable part may coincide for two runs then, the hash of the settings may not.
        every = repr(self) + (repr(options) if options.is_given else "")
        every += "" if self.preference_pairs is None else f"{self.preference_pairs} pairs"
        every += self.set or ""
        newer = {name: getattr(self, name) for name in NEWER[2:]}
        every += "".join(f"{name}={value}" for name, value in newer.items() if value is not None)
        digest = hashlib.sha256(every.encode()).hexdigest()[:8]
        return f"{safe[: MAX_ID - 9]}-{digest}"

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        fields = dataclasses.asdict(self)
        budget = fields["budget"] | {"own": self.budget.own.to_json()}
        # Absent where there are none, as in the records of earlier versions.
        del budget["family_options"]
        if (options := self.budget.family_options).is_given:
            budget["family_options"] = options.to_json()
        given = {k: v for k, v in fields.items() if k not in NEWER or v is not None}
        return given | {"budget": budget}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RunSettings:
        """Return the settings that `to_json` described."""
        budget = {**fields["budget"], "own": OwnTask.from_json(fields["budget"]["own"])}
        options = FamilyOptions.from_json(budget.pop("family_options", {}))
        return cls(**{**fields, "budget": Budget(**budget, family_options=options)})


def task_budgets(axes: Axes, budget: Budget) -> list[Budget]:
    """Return the budget for each task of a grid: families by horizon, those of models last."""
    named = axes.task or (() if axes.model else (budget.task,))
    if axes.horizon:
        named = [f"{family}-{horizon}" for family in named for horizon in axes.horizon]
        budget = dataclasses.replace(budget, family_options=budget.family_options.or_default())
    tasks = [dataclasses.replace(budget, task=name) for name in named]
    return tasks + [dataclasses.replace(budget, task="", model=name) for name in axes.model]


def choices(axes: Axes, agent: str) -> dict[str, tuple[Any, ...]]:
    """Return what each setting is varied over for an agent; a setting it lacks is None only.

    An agent that learns from given pairs draws no groups, and is paid nothing: it is run at the
    first density only.

    Raises:
        ValueError: if the agent does not exist.
    """
    lacking = AGENT_AXES - agent_fields(agent)
    is_offline = bool(axes.preference_pairs) and takes_preferences(agent)
    lacking |= {"group_size"} if is_offline else {"preference_pairs"}
    lacking |= set() if takes_replay(agent) else {"replay_ratio"}
    varied = {name: (name not in lacking and getattr(axes, name)) or (None,) for name in VARIED}
    varied["set"] = tuple(x for x in axes.set if takes(agent, assignments(x))) or (None,)
    return varied | {"density": axes.density[:1]} if is_offline else varied


def count_runs(axes: Axes, budget: Budget) -> int:
    """Return how many runs `grid` would list, without listing them.

    Raises:
        ValueError: if an agent does not exist.
    """
    settings = sum(math.prod(map(len, choices(axes, agent).values())) for agent in axes.agent)
    return settings * len(task_budgets(axes, budget)) * axes.seeds


def grid(axes: Axes, budget: Budget) -> list[RunSettings]:
    """Return every run, without the repetitions that an agent's missing settings would cause.

    The seeds turn slowest, so that an interrupted grid holds all settings of its first seeds.

    Raises:
        ValueError: if an agent does not exist.
    """
    varied = {agent: choices(axes, agent) for agent in axes.agent}
    seeds = range(axes.first_seed, axes.first_seed + axes.seeds)
    turns = itertools.product(seeds, task_budgets(axes, budget), axes.agent)
    return [
        RunSettings(agent=agent, seed=seed, budget=own, **dict(zip(VARIED, chosen, strict=True)))
        for seed, own, agent in turns
        for chosen in itertools.product(*varied[agent].values())
    ]
