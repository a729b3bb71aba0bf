"""What the study compares, and its budget. Nothing is run here; torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlhf_env.checks import check_choice, check_count
from rlhf_env.tasks import is_task_name
from studies.experiment.checks import check_jobs

PARTS = ("fixed", "uniform", "offline", "arrival", "breaks")
"""The five questions; `studies.value_learning.tables` says what each is."""

SMALL = "toy15"
"""The task of all parts but "arrival": all of its 15 responses are known."""

GROUP = 8
"""Responses that are compared with each other, where a method does that."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """An agent under a name."""

    agent: str
    """As commands name it; "q_sharp" and "vas" are guided decoding."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Besides those of the study."""
    reaches: bool = True
    """Whether its optimum is claimed to be that of the RLHF objective, from any episodes."""


_GROUPED = {"group_size": GROUP}
_MANY = {"value_samples": 4096}
METHODS: Mapping[str, Method] = {
    "PCL": Method(agent="pcl"),
    "TB": Method(agent="trajectory_balance", settings=_GROUPED),
    "TBRM": Method(agent="tbrm"),
    "ReVal": Method(agent="reval"),
    "ShiQ": Method(agent="shiq"),
    "OREO": Method(agent="oreo"),
    "A*-PO": Method(agent="a_star_po", settings=_MANY),
    "SoftQ": Method(agent="soft_q"),
    "Q#": Method(agent="q_sharp"),
    "ILQL": Method(agent="ilql", reaches=False),
    "VAS": Method(agent="vas", reaches=False),
    "GRPO": Method(agent="grpo", settings=_GROUPED, reaches=False),
    "GRPO, corrected": Method(
        agent="grpo", settings={**_GROUPED, "importance": "sequence"}, reaches=False
    ),
    "PPO": Method(agent="ppo", reaches=False),
    "PPO, corrected": Method(agent="ppo", settings={"importance": "token"}, reaches=False),
}
"""What is compared on data that do not change."""

BREAKS: Mapping[str, Method] = {
    "OREO, kl_reg 0.01": Method(agent="oreo", settings={"kl_reg": 0.01}, reaches=False),
    "OREO, kl_reg 0.1": Method(agent="oreo", settings={"kl_reg": 0.1}, reaches=False),
    "A*-PO, V* of 8": Method(agent="a_star_po", settings={"value_samples": 8}, reaches=False),
    "A*-PO, V* of 1": Method(agent="a_star_po", settings={"value_samples": 1}, reaches=False),
    "A*-PO, β₁ 1": Method(
        agent="a_star_po", settings={"value_samples": 4096, "value_kl_coef": 1.0}, reaches=False
    ),
    "A*-PO, β₁ 0.1": Method(
        agent="a_star_po", settings={"value_samples": 4096, "value_kl_coef": 0.1}, reaches=False
    ),
    "ILQL, τ 0.5, no CQL": Method(
        agent="ilql", settings={"expectile": 0.5, "conservative_coef": 0.0}, reaches=False
    ),
    "ILQL, τ 0.9, no CQL": Method(
        agent="ilql", settings={"expectile": 0.9, "conservative_coef": 0.0}, reaches=False
    ),
    "ILQL, τ 0.99, no CQL": Method(
        agent="ilql", settings={"expectile": 0.99, "conservative_coef": 0.0}, reaches=False
    ),
    "ILQL, τ 0.7, CQL 1": Method(agent="ilql", settings={"conservative_coef": 1.0}, reaches=False),
    "SoftQ, target a copy": Method(agent="soft_q", settings={"target_rate": 1.0}),
    "SoftQ, target 0.01": Method(agent="soft_q", settings={"target_rate": 0.01}),
}
"""Settings that move the optimum, or slow the way there; fitted to all responses."""

MORE_STEPS: Mapping[str, Method] = {
    "GRPO, 8 epochs": Method(agent="grpo", settings={**_GROUPED, "epochs": 8}, reaches=False)
}
"""As many optimizer steps for each fresh episode as with 8 old ones, and none of those."""

ARRIVALS = ("GRPO", "PPO", "PCL", "TB", "TBRM", "ReVal", "ShiQ", "OREO", "A*-PO", "SoftQ")
"""Whose fresh episodes are counted; the first two are corrected where they learn from old ones."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is measured, and how much of it."""

    parts: tuple[str, ...] = PARTS
    """Some of "fixed", "uniform", "offline", "arrival" and "breaks"."""
    tasks: tuple[str, ...] = ("toy15",)
    """Tasks of the part "arrival"."""
    methods: tuple[str, ...] = ()
    """Only these; all when empty."""
    ratios: tuple[int, ...] = (0, 2, 8)
    """Old episodes for each fresh one, in the part "arrival"."""
    rates: tuple[float, ...] = (0.15, 0.4)
    """Step sizes of the part "arrival"; each method is shown at its best."""
    sizes: tuple[int, ...] = (64, 1024)
    """Episodes of the data, in the part "offline"; the largest of them in "uniform"."""
    updates: int = 400
    """Updates on data that do not change."""
    episodes: int = 2048
    """Fresh episodes after which a run of the part "arrival" has not arrived."""
    seeds: int = 5
    """Runs per setting."""
    jobs: int = 2
    """Processes that train."""
    out: Path = Path("runs/value-learning")
    """Folder that gets a file such as fixed-toy15.csv for each part and task."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run."""

    part: str
    method: str
    task: str = SMALL
    ratio: int = 0
    rate: float = 0.2
    size: int = 0
    seed: int = 0
    updates: int = 0
    episodes: int = 0

    @property
    def known(self) -> Method:
        """The method's agent and settings."""
        known = {**METHODS, **BREAKS, **MORE_STEPS}[self.method]
        if self.ratio and self.method in ("GRPO", "PPO"):
            return replace(known, settings={**known.settings, "importance": "token"})
        return known


def jobs_of(study: Study) -> list[Job]:
    """Return all runs, part by part."""
    jobs = [job for part in PARTS if part in study.parts for job in _JOBS[part](study)]
    return [job for job in jobs if not study.methods or job.method in study.methods]


def _fixed(study: Study) -> list[Job]:
    plain = [name for name in METHODS if "corrected" not in name]
    return [Job(part="fixed", method=name, rate=0.1, updates=study.updates) for name in plain]


def _breaks(study: Study) -> list[Job]:
    return [Job(part="breaks", method=name, rate=0.1, updates=study.updates) for name in BREAKS]


def _uniform(study: Study) -> list[Job]:
    return _on_data(study, "uniform", study.sizes[-1:])


def _offline(study: Study) -> list[Job]:
    return _on_data(study, "offline", study.sizes)


def _on_data(study: Study, part: str, sizes: tuple[int, ...]) -> list[Job]:
    return [
        Job(part=part, method=name, size=size, seed=seed, updates=study.updates)
        for size in sizes
        for name in METHODS
        # Guided decoding learns from the reference's own responses.
        if part != "uniform" or METHODS[name].agent not in ("q_sharp", "vas")
        for seed in range(study.seeds)
    ]


def _arrival(study: Study) -> list[Job]:
    return [
        Job(
            part="arrival",
            method=name,
            task=task,
            ratio=ratio,
            rate=rate,
            seed=seed,
            episodes=study.episodes,
        )
        for task in study.tasks
        for name in (*ARRIVALS, *MORE_STEPS)
        for ratio in (study.ratios if name in ARRIVALS else (0,))
        for rate in study.rates
        for seed in range(study.seeds)
    ]


_JOBS = {
    "fixed": _fixed,
    "uniform": _uniform,
    "offline": _offline,
    "arrival": _arrival,
    "breaks": _breaks,
}


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before a model is made.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    for part in study.parts:
        check_choice("parts", part, PARTS)
    for name in study.methods:
        check_choice("methods", name, (*METHODS, *BREAKS, *MORE_STEPS))
    for task in study.tasks:
        if not is_task_name(task):
            raise ValueError(f"tasks must be of this project, such as delay-32, got {task!r}")
    for ratio in study.ratios:
        check_count("ratios", ratio, minimum=0)
    for size in study.sizes:
        check_count("sizes", size, minimum=GROUP)
    for name in ("updates", "episodes", "seeds"):
        check_count(name, getattr(study, name))
    check_jobs(study.jobs)
    if study.out.exists() and not study.out.is_dir():
        raise ValueError(f"out must be a folder, got the file {study.out}; name another")
