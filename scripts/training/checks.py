"""Refusals of what a person typed to `scripts/train.py`, before anything is read or loaded."""

from __future__ import annotations

import math
import re
from pathlib import Path

from scripts.ablation.agent_names import BUILT_IN, agent_fields, did_you_mean
from scripts.ablation.checks import check_name, check_task
from scripts.training.settings import Learning, Problem, Settings

DENSITIES = ("terminal", "every_k", "prefix_difference", "potential")
GRANULARITIES = ("token", "macro_N", "bandit")
HUB_ID = r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?"
MAX_SEED = 2**63 - 1


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot be run.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    check_learning(settings.learning)
    check_problem(settings.problem)
    whole_number("--samples", settings.samples, 0)
    if settings.task_name is not None:
        check_task(settings.task_name)


def check_learning(learning: Learning) -> None:
    """Refuse an agent that does not exist, and settings that it does not have or cannot use."""
    if learning.agent not in BUILT_IN and ":" not in learning.agent:
        raise ValueError(
            f"--agent must be one of {', '.join(BUILT_IN)}, got {learning.agent!r}"
            f"{did_you_mean(learning.agent, list(BUILT_IN))}"
        )
    if ":" in learning.agent:
        raise ValueError(
            f"--agent must be the name of a built-in agent, got {learning.agent!r}; "
            "scripts/ablate.py also runs agents of your own"
        )
    fields = agent_fields(learning.agent)
    whole_number("--episodes", learning.episodes, 1)
    whole_number("--episodes-per-update", learning.episodes_per_update, 1)
    whole_number("--eval-episodes", learning.eval_episodes, 1)
    whole_number("--every-k", learning.every_k, 1)
    whole_number("--seed", learning.seed, 0, MAX_SEED)
    number("--gamma", learning.gamma, 0.0, 1.0)
    number("--learning-rate", learning.learning_rate, 0.0)
    number("--gae-lambda", learning.gae_lambda, 0.0, 1.0)
    check_name("--density", learning.density, DENSITIES)
    check_name("--granularity", learning.granularity, GRANULARITIES)
    for option, name in (("--gae-lambda", "gae_lambda"), ("--group-size", "group_size")):
        if name not in fields and getattr(learning, name) is not None:
            raise ValueError(
                f"{option} is no setting of {learning.agent}, got {getattr(learning, name):g}; "
                "leave it out or choose another agent"
            )
    _check_minibatches(learning.agent, learning.episodes_per_update)
    if learning.group_size is not None:
        _check_group(learning.group_size, learning.episodes_per_update)


def check_problem(problem: Problem) -> None:
    """Refuse options that contradict each other, a model that is not there, and bad numbers."""
    whole_number("--prompt-sentences", problem.prompt_sentences, 1)
    whole_number("--max-prompt-tokens", problem.max_prompt_tokens, 1)
    whole_number("--max-new-tokens", problem.max_new_tokens, 1)
    number("--kl-coef", problem.kl_coef, 0.0)
    if problem.model is None:
        _check_no_model(problem)
        return
    if problem.task is not None:
        raise ValueError(
            f"--task and --model exclude each other, got {problem.task!r} and {problem.model!r}; "
            "leave one out"
        )
    if problem.prompts is None:
        raise ValueError("--model needs --prompts, got none; name a file of prompts")
    if (problem.ratings is None) == (problem.reward is None):
        got = "none" if problem.ratings is None else "both"
        raise ValueError(f"--model needs one of --ratings and --reward, got {got}; give one")
    check_model(problem.model)


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


def whole_number(option: str, value: int | None, least: int, most: int | None = None) -> None:
    """Refuse a count outside its range; None, for not given, is allowed."""
    if value is not None and (value < least or (most is not None and value > most)):
        bound = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{option} must be a whole number {bound}, got {value}")


def number(option: str, value: float | None, least: float, most: float = math.inf) -> None:
    """Refuse a number that is not finite or outside its range; None is allowed."""
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        bound = f">= {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise ValueError(f"{option} must be a finite number {bound}, got {value:g}")


def _check_no_model(problem: Problem) -> None:
    given = {
        "--prompts": problem.prompts,
        "--prompt-sentences": problem.prompt_sentences,
        "--ratings": problem.ratings,
        "--reward": problem.reward,
        "--max-prompt-tokens": problem.max_prompt_tokens,
    }
    for option, value in given.items():
        if value is not None:
            raise ValueError(
                f"{option} goes with --model, got {str(value)!r} without one; a task has its own"
            )


def _check_minibatches(agent: str, episodes: int) -> None:
    count = BUILT_IN[agent].minibatches
    if episodes % count:
        below, above = episodes // count * count, -(-episodes // count) * count
        choices = f"{below} or {above}" if below else str(above)
        raise ValueError(
            f"--episodes-per-update must be a multiple of {count} for {agent}, which takes {count} "
            f"steps per pass, got {episodes}; choose {choices}"
        )


def _check_group(size: int, episodes: int) -> None:
    whole_number("--group-size", size, 2)
    if episodes % size:
        sizes = [n for n in range(2, episodes + 1) if episodes % n == 0]
        raise ValueError(
            f"--group-size must divide --episodes-per-update = {episodes}, got {size}; choose one "
            f"of {', '.join(map(str, sizes)) or 'none: raise --episodes-per-update'}"
        )
