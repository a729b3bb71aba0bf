"""Building the games' language models from a seed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlhf_env.files import write_atomically
from rlhf_env.tasks.games.countdown.puzzles import WORDS as COUNTDOWN_WORDS
from rlhf_env.tasks.games.countdown.texts import Habits, attempts
from rlhf_env.tasks.games.guess.rules import WORDS as GUESS_WORDS
from rlhf_env.tasks.games.guess.texts import games
from rlhf_env.tasks.games.language_model import drawn_language_model, save_language_model
from rlhf_env.tasks.games.reverse.rules import WORDS as REVERSE_WORDS
from rlhf_env.tasks.games.reverse.texts import answers
from rlhf_env.tasks.pretraining import Training, cross_entropy, fit, parameter_count

Texts = tuple[list[Tensor], list[Tensor]]
"""Prompts and what is written below each, as ids."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Texts to read, and how long they are read."""

    texts: Callable[[int, int], Texts]
    """``texts(count, seed)``."""
    training: Training


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a game's language model reads, one stage after the other."""

    words: int
    """Size of the vocabulary."""
    stages: tuple[Stage, ...]


def _countdown(solving: float) -> Callable[[int, int], Texts]:
    return lambda count, seed: attempts(count, Habits(solving=solving), seed)


def _training(steps: int, learning_rate: float = 5e-3) -> Training:
    return Training(steps=steps, batch_size=64, learning_rate=learning_rate)


RECIPES = {
    # First what solves is learned, then that it is rarely written.
    "countdown": Recipe(
        words=len(COUNTDOWN_WORDS),
        stages=(
            Stage(texts=_countdown(1.0), training=_training(2400)),
            Stage(texts=_countdown(0.06), training=_training(400, 2e-3)),
        ),
    ),
    "guess": Recipe(words=len(GUESS_WORDS), stages=(Stage(texts=games, training=_training(1000)),)),
    "reverse": Recipe(
        words=len(REVERSE_WORDS), stages=(Stage(texts=answers, training=_training(800)),)
    ),
}


def build(game: str, folder: Path, seed: int = 0, *, shorter: int = 1) -> dict[str, Any]:
    """Train a game's language model and write it to a folder.

    Args:
        game: a key of `RECIPES`.
        folder: gets the weights, and beside them the figures as JSON.
        seed: decides everything, for one machine and one number of threads.
        shorter: divides the steps of each stage.

    Returns:
        What was measured: parameters, nats per token on unseen texts of the last stage, seconds.
    """
    started = time.perf_counter()
    recipe = RECIPES[game]
    generator = torch.Generator().manual_seed(seed)
    model = drawn_language_model(recipe.words, generator)
    for number, stage in enumerate(recipe.stages):
        steps = max(stage.training.steps // shorter, 2)
        training = dataclasses.replace(stage.training, steps=steps)
        # Seeds of their own, so that no stage and no measurement repeats the texts of another.
        prompts, texts = stage.texts(steps * training.batch_size // 2, 10 * seed + number)
        fit(model.train(), prompts, texts, training, generator)
    unseen = recipe.stages[-1].texts(1024, 10 * seed + 9)
    tokens = sum(len(text) for text in unseen[1])
    figures = {
        "seed": seed,
        "parameters": parameter_count(model),
        "cross_entropy": float(cross_entropy(model, *unseen).sum()) / tokens,
        "build_seconds": round(time.perf_counter() - started, 1),
    }
    save_language_model(model, game, folder)
    content = json.dumps(figures, indent=2) + "\n"
    write_atomically(folder / f"{game}.json", content.encode())
    return figures
