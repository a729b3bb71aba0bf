"""The settings of `scripts/evaluate.py`, `compare.py` and `export.py`. No file is read here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from rlhf_env.checks import did_you_mean
from studies.experiment.numbers import whole_number
from studies.experiment.task.checks import check_model, check_problem
from studies.experiment.task.spec import Problem
from studies.results.run_folder import check_writable

MAX_SEED = 2**63 - 1
MAX_EPISODES = 1_000_000
WAYS = ("auto", "gold", "score", "people")
REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True)
class Question:
    """The task to evaluate on. A run of scripts/train.py records its own task."""

    problem: tyro.conf.OmitArgPrefixes[Problem] = field(default_factory=Problem)
    episodes: int = 256
    """Responses of each agent; the evaluation prompts are used in turn."""
    seed: int = 0
    """Of all responses."""
    samples: int = 4
    """Prompts whose responses are shown."""
    threads: int | None = None
    """Threads of PyTorch (none given: OMP_NUM_THREADS, else one for a small model and as many as
    cores are free for a larger one)."""
    trust: bool = False
    """Run the code that a training run's own settings name: its task, reward function or agent."""


@dataclass(frozen=True, kw_only=True)
class Further:
    """What else is measured, of agent and reference, where files for it are given."""

    texts: Path | None = None
    """Texts whose perplexity is compared: a text per line, JSONL or Parquet (.gz too)."""
    texts_field: str | None = None
    """Field of JSONL or Parquet (none given: prompt, else text)."""
    probe: str | None = None
    """module:name of f(prompts, responses) -> numbers, a score that was not trained on."""
    hhh: Path | None = None
    """Comparisons, some of them about being helpful and some about being harmless."""
    hhh_by: str = "subset"
    """Column of --hhh whose values begin with helpful or harmless."""


def _folder(name: str, text: str) -> object:
    return tyro.conf.arg(metavar=name, help=text)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a saved agent."""

    folder: Annotated[
        tyro.conf.Positional[Path],
        _folder("FOLDER", "What agent.save wrote, or the --out of scripts/train.py."),
    ]
    question: tyro.conf.OmitArgPrefixes[Question]
    more: tyro.conf.OmitArgPrefixes[Further]
    out: Path | None = None
    """Folder for the results (none given: FOLDER-evaluation)."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare two saved agents."""

    first: Annotated[
        tyro.conf.Positional[Path],
        _folder("FIRST", "What agent.save wrote, or the --out of scripts/train.py."),
    ]
    second: Annotated[
        tyro.conf.Positional[Path],
        _folder("SECOND", 'The same of its opponent, or "reference".'),
    ]
    question: tyro.conf.OmitArgPrefixes[Question]
    by: str = "auto"
    """Who decides wins: gold, score, auto (gold where there is one), people (who label the pairs
    in pairs.jsonl), or module:name of a judge f(prompts, a, b) of your own."""
    out: Path | None = None
    """Folder for the results (none given: FIRST-against-SECOND)."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a saved agent's policy as a Hugging Face model folder."""

    folder: Annotated[
        tyro.conf.Positional[Path],
        _folder("FOLDER", "The --out of scripts/train.py, or what agent.save wrote."),
    ]
    out: Path
    """Folder of the model: new or empty."""
    adapter: bool = False
    """Write the adapter of --lora-rank alone, as peft reads it."""
    task: str | None = None
    """The built-in task of an agent that no run tells (or module:function)."""
    model: str | None = None
    """The model that such an agent began from."""
    trust: bool = False
    """Run the code that a training run's own settings name: its task or its agent."""


def check_export(settings: Export) -> None:
    """Refuse what cannot be exported, as far as the command line shows."""
    if settings.task is not None and settings.model is not None:
        raise ValueError(
            f"--task and --model exclude each other, got {settings.task!r} and "
            f"{settings.model!r}; leave one out"
        )
    if settings.model is not None:
        check_model(settings.model)
    check_writable(settings.out)


def check_question(question: Question) -> None:
    """Refuse invalid numbers and tasks.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    whole_number("--episodes", question.episodes, 1, MAX_EPISODES)
    whole_number("--seed", question.seed, 0, MAX_SEED)
    whole_number("--samples", question.samples, 0)
    if question.threads is not None:
        whole_number("--threads", question.threads, 1)
    problem = question.problem
    if problem.model is None and problem.task is None:
        # Naming the reward of the agent's own run again is consent to running its code.
        problem = replace(problem, own=replace(problem.own, reward=None))
    check_problem(problem)


def check_evaluate(settings: Evaluate) -> None:
    """Refuse what cannot be evaluated, as far as the command line shows."""
    check_question(settings.question)
    for name in ("texts", "hhh"):
        path = getattr(settings.more, name)
        if path is not None and not path.is_file():
            raise ValueError(f"--{name} must be an existing file, got {str(path)!r}")


def check_compare(settings: Compare) -> None:
    """Refuse what cannot be compared, as far as the command line shows."""
    check_question(settings.question)
    if settings.by not in WAYS and ":" not in settings.by:
        raise ValueError(
            f"--by must be one of {', '.join(WAYS)} or module:name of a judge, got {settings.by!r}"
            f"{did_you_mean(settings.by, WAYS)}"
        )
