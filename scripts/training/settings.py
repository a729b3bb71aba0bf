"""What `scripts/train.py` can be told. Nothing is checked or read here."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import tyro

from scripts.ablation.grid import Budget, RunSettings

DEFAULT_TASK = "reviews"
# Pretrained models leave their reference far behind in one update of the agents' own step size.
# PPO takes many steps per update, the others one.
MODEL_LEARNING_RATES = {"ppo": 3e-5}
MODEL_LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is asked and who judges: a built-in task, or a model with prompts and a reward."""

    task: str | None = None
    """A built-in task (toy15, reviews) or module:function; reviews if there is no model either."""
    model: str | None = None
    """Folder or hub id of a language model; needs --prompts, and --ratings or --reward."""
    prompts: Path | None = None
    """Text (a prompt per line), JSONL or Parquet file; a tenth is kept for the evaluation."""
    prompt_field: str = "text"
    """Field of a JSONL or Parquet row that holds the prompt."""
    prompt_sentences: int | None = None
    """Take only this many sentences from the start of each text (none given: all)."""
    ratings: Path | None = None
    """JSONL or Parquet file of rated texts; the reward is learned from nine tenths of it."""
    ratings_text: str = "text"
    """Field of a rating's row that holds the text."""
    ratings_value: str = "mean"
    """Field of a rating's row that holds the rating, a number; higher is better."""
    reward: str | None = None
    """Your own f(prompts, responses) of lists of texts, as module:function or file.py:function."""
    max_prompt_tokens: int | None = None
    """Longer prompts are left out (none given: 64); only with --model."""
    max_new_tokens: int | None = None
    """Longest response in tokens (none given: the task's own; 64 with --model)."""
    kl_coef: float | None = None
    """Weight of the KL penalty, >= 0 (none given: the task's own; 0.05 with --model)."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Who learns, how, and for how long."""

    agent: str = "ppo"
    """The agent: ppo, grpo, ..."""
    episodes: int = 4096
    """Episodes (responses) to learn from; a larger number continues a finished run."""
    episodes_per_update: int = 64
    """Episodes that each update learns from."""
    learning_rate: float | None = None
    """Step size of the optimiser (none: the agent's own; with --model 3e-5 for ppo, else 1e-4)."""
    gamma: float = 1.0
    """Discount factor per decision, in [0, 1]."""
    gae_lambda: float | None = None
    """GAE's lambda in [0, 1], for agents with a critic (none given: the agent's own)."""
    group_size: int | None = None
    """Responses per prompt, for agents that compare within groups (none given: their own)."""
    density: str = "terminal"
    """When the score is paid: terminal, every_k or every_8, prefix_difference, potential."""
    every_k: int = 8
    """Tokens between two payments under the density every_k."""
    granularity: str = "token"
    """What one decision is: token, macro_N (N tokens), bandit (the whole response)."""
    seed: int = 0
    """Of all the agent's randomness and of the choice of prompts that are shown."""
    eval_episodes: int = 256
    """Episodes of the evaluations before and after training."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Train one agent on one task."""

    problem: tyro.conf.OmitArgPrefixes[Problem]
    learning: tyro.conf.OmitArgPrefixes[Learning]
    out: Path = Path("runs/train")
    """Folder for the results; an unfinished run of the same settings in it is continued."""
    samples: int = 4
    """Prompts whose responses are shown before and after training."""

    @property
    def task_name(self) -> str | None:
        """The built-in task; None where a model is given."""
        return self.problem.task or (None if self.problem.model else DEFAULT_TASK)

    @property
    def run(self) -> RunSettings:
        """The same settings as one run of an ablation, which knows the agents and wrappers."""
        learning = self.learning
        # Every token is every first token: one wrapper does both.
        density = "every_1" if learning.density == "prefix_difference" else learning.density
        rate = learning.learning_rate
        if rate is None and self.problem.model is not None:
            rate = MODEL_LEARNING_RATES.get(learning.agent, MODEL_LEARNING_RATE)
        return RunSettings(
            agent=learning.agent,
            gamma=learning.gamma,
            density=density,
            granularity=learning.granularity,
            gae_lambda=learning.gae_lambda,
            kl_coef=self.problem.kl_coef,
            group_size=learning.group_size,
            seed=learning.seed,
            budget=Budget(
                task=self.task_name or "",
                episodes_per_update=learning.episodes_per_update,
                learning_rate=rate,
                every_k=learning.every_k,
                eval_episodes=learning.eval_episodes,
            ),
        )

    def to_json(self) -> dict[str, object]:
        """Return what makes the run this run, as plain values."""
        fields = {**dataclasses.asdict(self.problem), **dataclasses.asdict(self.learning)}
        fields |= {"task": self.task_name, "samples": self.samples}
        return {k: str(v) if isinstance(v, Path) else v for k, v in fields.items()}


def as_typed(sentence: str) -> str:
    """Return an error with its settings named as the command line has them: ``--kl-coef``."""
    names = [field.name for kind in (Problem, Learning) for field in dataclasses.fields(kind)]
    # A single word is an option where it opens the sentence only; it may be a word elsewhere.
    long = "|".join(name for name in names if "_" in name)
    first = rf"^({'|'.join(names)})(?= (?:must|goes|is|needs) )"
    anywhere = rf"(?<![\w'\"./-])({long})(?![\w'\"./])"
    return re.sub(f"{first}|{anywhere}", lambda found: f"--{found[0].replace('_', '-')}", sentence)
