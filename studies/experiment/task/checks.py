"""Checks of the task options of a command line, before anything is read or loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from studies.experiment.numbers import number, whole_number
from studies.experiment.task.spec import OwnTask, Problem

HUB_ID = r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?"


def check_problem(problem: Problem) -> None:
    """Refuse options that contradict each other, a missing model, and invalid numbers.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    number("--kl-coef", problem.kl_coef, 0.0)
    if problem.model is not None and problem.task is not None:
        raise ValueError(
            f"--task and --model exclude each other, got {problem.task!r} and {problem.model!r}; "
            "leave one out"
        )
    check_custom_task(problem.own, () if problem.model is None else (problem.model,))


def check_custom_task(own: OwnTask, models: Sequence[str]) -> None:
    """Refuse what does not make a task of each model, or is there without a model.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    whole_number("--prompt-sentences", own.prompt_sentences, 1)
    whole_number("--max-prompt-tokens", own.max_prompt_tokens, 1)
    whole_number("--max-new-tokens", own.max_new_tokens, 1)
    if not models:
        _check_no_model(own)
        return
    if own.prompts is None:
        raise ValueError("--model needs --prompts, got none; name a file of prompts")
    if (own.ratings is None) == (own.reward is None):
        got = "none" if own.ratings is None else "both"
        raise ValueError(f"--model needs one of --ratings and --reward, got {got}; give one")
    for model in models:
        check_model(model)


def check_model(model: str) -> None:
    """Refuse a model that is neither a folder with a model in it nor like a hub id."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(
                f"--model must be a folder with a config.json or a hub id, got {model!r}, "
                "which holds none; name the folder that does"
            )
    elif folder.exists() or not re.fullmatch(HUB_ID, model):
        what = "a file" if folder.exists() else "no folder"
        raise ValueError(
            f"--model must be a folder with a config.json or a hub id, got {model!r}, which is "
            f"{what}; correct the path"
        )


def _check_no_model(own: OwnTask) -> None:
    given = {
        "--prompts": own.prompts,
        "--prompt-sentences": own.prompt_sentences,
        "--ratings": own.ratings,
        "--reward": own.reward,
        "--max-prompt-tokens": own.max_prompt_tokens,
    }
    for option, value in given.items():
        if value is not None:
            raise ValueError(
                f"{option} goes with --model, got {str(value)!r} without one; a task has its own"
            )
