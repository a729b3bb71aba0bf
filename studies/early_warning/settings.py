"""What is trained, how often, and where the results go. Nothing is run here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.experiment.numbers import number, whole_number

PROXY, STRONG_KL, GOLD = "proxy", "proxy, strong KL", "gold"
ARMS = (PROXY, STRONG_KL, GOLD)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Train against a proxy that is wrong, held closer, and against the truth."""

    seeds: int = 4
    """Runs of each kind; each seed has comparisons and an ensemble of its own."""
    updates: int = 25
    """Of each run."""
    episodes: int = 64
    """Of each update."""
    learning_rate: float = 3e-4
    """Of PPO."""
    kl_coef: float = 0.02
    """Weight of the KL penalty, in spreads of the reference's score per nat."""
    strong_kl_coef: float = 1.0
    """The same of the runs that are held close."""
    pairs: int = 250
    """Comparisons that each ensemble is trained on."""
    members: int = 3
    """Reward models of each ensemble, whose mean is paid."""
    proxy_steps: int = 60
    """Optimizer steps of each reward model."""
    out: Path = Path("runs/early-warning")
    """Folder of the results; runs that it holds are not repeated."""

    def coefficient(self, arm: str) -> float:
        """Return the weight of the KL penalty in a kind of run."""
        return self.strong_kl_coef if arm == STRONG_KL else self.kl_coef


def check_study(study: Study) -> None:
    """Refuse what cannot be run, before a model is loaded.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    least = {"seeds": 1, "updates": 12, "episodes": 8, "pairs": 120, "members": 2}
    for name, minimum in (least | {"proxy_steps": 1}).items():
        whole_number(f"--{name.replace('_', '-')}", getattr(study, name), minimum)
    for name in ("learning_rate", "kl_coef", "strong_kl_coef"):
        number(f"--{name.replace('_', '-')}", getattr(study, name), 0.0)
