"""What the study compares, and its budget. Nothing is run here; torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.experiment.checks import check_out
from studies.experiment.numbers import number, whole_number

# As named on the command line, and what each is.
METHODS = {
    "dpo": "DPO",
    "ipo": "IPO",
    "kto": "KTO",
    "simpo": "SimPO",
    "tdpo": "TDPO",
    "reward_ppo": "reward model + PPO",
    "best_of_n": "reward model + best of n",
    "reward_optimum": "reward model + its exact optimum",
}
DIRECT = ("dpo", "ipo", "kto", "simpo", "tdpo")
"""Methods that learn from comparisons without a reward model."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One method on the data of one seed."""

    method: str
    pairs: int
    seed: int

    @property
    def name(self) -> str:
        """Return for example ``dpo-pairs200-seed0``."""
        return f"{self.method}-pairs{self.pairs}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is learned from, by what, and for how long."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods: dpo, ipo, kto, simpo, tdpo, reward_ppo, best_of_n, reward_optimum."""
    pairs: tuple[int, ...] = (200, 1000, 5000, 20_000)
    """Amounts of data: compared pairs of the reference's responses."""
    seeds: int = 5
    """Repetitions, each with comparisons of its own, which all methods share."""
    updates: int = 100
    """Updates of every policy that is trained."""
    batch: int = 64
    """Pairs, or PPO's episodes, of an update."""
    every: int = 10
    """Updates between two points of a curve."""
    learning_rate: float = 0.05
    """Of Adam, for every policy that is trained."""
    ridge: float = 1e-3
    """Weight of the reward model's squares: some responses win all their comparisons."""
    largest_n: int = 64
    """Of the best of n; n doubles up to it."""
    jobs: int = 2
    """Processes; 1 works in this one."""
    out: Path = Path("runs/preference")
    """Folder of the results and of what is kept for going on."""

    def all_jobs(self) -> list[Job]:
        """Return all work; the seeds turn slowest."""
        return [
            Job(method=method, pairs=pairs, seed=seed)
            for seed in range(self.seeds)
            for pairs in self.pairs
            for method in self.methods
        ]


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before anything is made.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    for name in ("methods", "pairs"):
        values = getattr(study, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must hold different values, at least one, got {[*values]}")
    for method in study.methods:
        if method not in METHODS:
            raise ValueError(f"methods must be among {', '.join(METHODS)}, got {method!r}")
    for pairs in study.pairs:
        whole_number("pairs", pairs, study.batch)
    for name in ("seeds", "updates", "every", "largest_n", "jobs"):
        whole_number(name, getattr(study, name), 1)
    whole_number("batch", study.batch, 4)
    if study.batch % 4:
        raise ValueError(f"batch must be a multiple of 4, PPO's minibatches, got {study.batch}")
    number("learning_rate", study.learning_rate, 0.0)
    number("ridge", study.ridge, 0.0)
    check_out(study.out)
