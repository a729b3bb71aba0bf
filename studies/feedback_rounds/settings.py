"""The settings of `scripts/rounds.py` and their checks. No file is read here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from agents.settings import BUILT_IN_AGENTS
from rlhf_env.defaults import ENSEMBLE_RULES
from studies.experiment.checks import check_task
from studies.experiment.numbers import number, whole_number

LABELLERS = ("gold", "people")
POLICIES = ("ppo", "dpo")
# PPO's steps per pass over an update's episodes.
MINIBATCHES = BUILT_IN_AGENTS["ppo"].minibatches
MAX_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Alternate between labeling responses, learning the reward, and training the policy."""

    task: str = "reviews"
    """A built-in task or module:function; its own reward is not used."""
    rounds: int = 3
    """Rounds to run; a larger number continues a finished folder."""
    labels: str = "gold"
    """Who labels: "gold", the task's gold reward with noise; or "people", in a browser or a
    file."""
    wait: bool = False
    """Wait until people have labeled, instead of leaving meanwhile."""
    policy: str = "ppo"
    """What trains the policy: "ppo", on a reward learned from the labels; or "dpo", on the labels
    themselves."""
    gold_temperature: float = 0.5
    """Noise of gold labels: P(a preferred) = sigmoid((gold a - gold b) / this); 0 is none."""
    pairs_per_round: int = 1024
    """Pairs of responses that are labeled in each round."""
    reward_epochs: int = 5
    """Most passes over all labels so far when the reward is learned."""
    reward_learning_rate: float = 3e-4
    """Peak step size of the reward."""
    reward_members: int = 1
    """Reward models, each with first weights and an order of its own; several: an ensemble."""
    reward_rule: str = "mean"
    """Score of an ensemble: "mean", "worst", or "uncertainty", less half the variance."""
    episodes_per_round: int = 4096
    """Episodes (responses) that the policy learns from in each round."""
    episodes_per_update: int = 64
    """Episodes of each update."""
    learning_rate: float | None = None
    """Step size of the policy (none given: the agent's own)."""
    kl_coef: float | None = None
    """Weight of the KL penalty towards the task's reference (none given: the task's)."""
    missing_eos_penalty: float = 1.0
    """Taken off for a response that does not end by itself: people are not shown such responses."""
    eval_episodes: int = 256
    """Episodes of each round's evaluation."""
    seed: int = 0
    """Of everything that is drawn."""
    out: Path = Path("runs/rounds")
    """Folder for the results; an unfinished run of the same settings in it is continued."""

    def to_json(self) -> dict[str, object]:
        """Return what makes a folder this run's, as plain values; it may get more rounds."""
        fields = dataclasses.asdict(self)
        # Folders of PPO have always been without the name.
        free = ("rounds", "wait", "out", *(("policy",) if self.policy == "ppo" else ()))
        return {name: fields[name] for name in fields if name not in free}


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot be run.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    if settings.labels not in LABELLERS:
        raise ValueError(f"--labels must be one of {', '.join(LABELLERS)}, got {settings.labels!r}")
    if settings.policy not in POLICIES:
        raise ValueError(f"--policy must be one of {', '.join(POLICIES)}, got {settings.policy!r}")
    if settings.reward_rule not in ENSEMBLE_RULES:
        raise ValueError(
            f"--reward-rule must be one of {', '.join(ENSEMBLE_RULES)}, got "
            f"{settings.reward_rule!r}"
        )
    whole_number("--rounds", settings.rounds, 1)
    whole_number("--pairs-per-round", settings.pairs_per_round, 2)
    whole_number("--reward-epochs", settings.reward_epochs, 1)
    whole_number("--reward-members", settings.reward_members, 1)
    whole_number("--episodes-per-round", settings.episodes_per_round, 1)
    whole_number("--episodes-per-update", settings.episodes_per_update, 1)
    whole_number("--eval-episodes", settings.eval_episodes, 1)
    whole_number("--seed", settings.seed, 0, MAX_SEED)
    number("--gold-temperature", settings.gold_temperature, 0.0)
    number("--learning-rate", settings.learning_rate, 0.0)
    number("--kl-coef", settings.kl_coef, 0.0)
    number("--missing-eos-penalty", settings.missing_eos_penalty, 0.0)
    number("--reward-learning-rate", settings.reward_learning_rate, 0.0)
    if settings.reward_learning_rate == 0.0:
        raise ValueError("--reward-learning-rate must be greater than 0, got 0")
    if settings.policy == "dpo" and settings.episodes_per_update % 2:
        raise ValueError(
            "--episodes-per-update must be a multiple of 2 with --policy dpo, which learns from "
            f"pairs, got {settings.episodes_per_update}; choose 64"
        )
    if settings.policy == "ppo" and settings.episodes_per_update % MINIBATCHES:
        raise ValueError(
            f"--episodes-per-update must be a multiple of {MINIBATCHES}, PPO's steps per pass, got "
            f"{settings.episodes_per_update}; choose {MINIBATCHES * 16}"
        )
    check_task(settings.task)
