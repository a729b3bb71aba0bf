"""The grid of an ablation: the axes, the budget, and the list of runs they multiply to.

Nothing is run here and no file is touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from scripts.ablation.agent_names import agent_fields

MAX_ID = 100


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What is varied: every combination that makes sense is run once per seed."""

    agent: tuple[str, ...] = ("ppo", "grpo")
    """Agents: ppo, grpo, or module:Class of your own."""
    gamma: tuple[float, ...] = (0.9, 1.0)
    """Discount factors per decision, in [0, 1]."""
    density: tuple[str, ...] = ("terminal", "every_k", "potential")
    """When the score is paid: terminal, every_k (see --every-k), every_N, prefix_difference (which
    is every_1), potential."""
    granularity: tuple[str, ...] = ("token", "bandit")
    """What one decision is: token, macro_N (N tokens), bandit (the whole response)."""
    gae_lambda: tuple[float, ...] = (0.95,)
    """GAE's lambda in [0, 1], for the agents that have one."""
    kl_coef: Annotated[
        tuple[float, ...], tyro.conf.arg(help_behavior_hint="(default: the task's own)")
    ] = ()
    """Weights of the KL penalty, >= 0."""
    group_size: tuple[int, ...] = (4,)
    """Responses per prompt, for the agents that compare within groups."""
    seeds: int = 5
    """Seeds per combination."""
    first_seed: int = 0
    """The first of them; the others follow."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is the same for every run."""

    task: str = "toy15"
    """A built-in task (toy15, reviews), or module:function that returns a Task."""
    updates: int = 50
    """Updates of the policy per run; 0 evaluates untrained agents."""
    episodes_per_update: int = 32
    """Episodes (responses) that each update learns from."""
    learning_rate: float | None = None
    """Step size of the optimiser (none given: the agent's own, or the task's if it has one)."""
    every_k: int = 1
    """Tokens between two payments under the density every_k."""
    eval_episodes: int = 256
    """Episodes of the evaluation after training."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """One run: a point of the grid. A field that the agent does not have is None."""

    agent: str
    gamma: float
    density: str
    granularity: str
    gae_lambda: float | None
    kl_coef: float | None
    group_size: int | None
    seed: int
    budget: Budget

    @property
    def every_k(self) -> int | None:
        """Tokens between two payments; None where the density has no such number."""
        return tokens_between_payments(self.density, self.budget.every_k)

    @property
    def macro_tokens(self) -> int | None:
        """Tokens per macro action; None where the granularity has no such number."""
        if not self.granularity.startswith("macro_"):
            return None
        return int(self.granularity.removeprefix("macro_"))

    @property
    def run_id(self) -> str:
        """A readable name, unique within a grid: letters, digits, dot, underscore, hyphen."""
        parts = [self.agent, f"g{self.gamma:g}", self.density, self.granularity]
        parts += [f"l{self.gae_lambda:g}"] if self.gae_lambda is not None else []
        parts += [f"kl{self.kl_coef:g}"] if self.kl_coef is not None else []
        parts += [f"n{self.group_size}"] if self.group_size is not None else []
        plain = "-".join([*parts, f"s{self.seed}"])
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", plain)
        exact = [self.gamma, self.gae_lambda, self.kl_coef]
        shortened = any(x is not None and float(f"{x:g}") != x for x in exact)
        if safe == plain and len(safe) <= MAX_ID and not shortened:
            return safe
        # The readable part may coincide for two runs then, the hash of the settings may not.
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return f"{safe[: MAX_ID - 9]}-{digest}"

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RunSettings:
        """Return the settings that `to_json` described."""
        return cls(**{**fields, "budget": Budget(**fields["budget"])})


def tokens_between_payments(density: str, every_k: int) -> int | None:
    """Return the tokens between two payments; None where the density has no such number."""
    if density == "prefix_difference":
        return 1
    if not density.startswith("every_"):
        return None
    count = density.removeprefix("every_")
    return every_k if count == "k" else int(count)


def count_runs(axes: Axes) -> int:
    """Return how many runs `grid` would list, without listing them.

    Raises:
        ValueError: if an agent does not exist.
    """
    shared = len(axes.gamma) * len(axes.density) * len(axes.granularity)
    shared *= max(1, len(axes.kl_coef)) * axes.seeds
    fields = [agent_fields(agent) for agent in axes.agent]
    return sum(
        shared
        * (len(axes.gae_lambda) if "gae_lambda" in own else 1)
        * (len(axes.group_size) if "group_size" in own else 1)
        for own in fields
    )


def grid(axes: Axes, budget: Budget) -> list[RunSettings]:
    """Return every run, without the repetitions that an agent's missing settings would cause.

    The seeds turn slowest, so that an interrupted grid holds all settings of its first seeds.

    Raises:
        ValueError: if an agent does not exist.
    """
    fields = {agent: agent_fields(agent) for agent in axes.agent}
    seeds = range(axes.first_seed, axes.first_seed + axes.seeds)
    turns = itertools.product(
        seeds,
        axes.agent,
        axes.gamma,
        axes.density,
        axes.granularity,
        axes.gae_lambda,
        axes.kl_coef or (None,),
        axes.group_size,
    )
    runs = (
        RunSettings(
            agent=agent,
            gamma=gamma,
            density=density,
            granularity=granularity,
            gae_lambda=gae_lambda if "gae_lambda" in fields[agent] else None,
            kl_coef=kl_coef,
            group_size=group_size if "group_size" in fields[agent] else None,
            seed=seed,
            budget=budget,
        )
        for seed, agent, gamma, density, granularity, gae_lambda, kl_coef, group_size in turns
    )
    return list(dict.fromkeys(runs))
