"""The task guess: find a number from a user's answers, in as few turns as possible."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor

from rlhf_env.checks import check_count
from rlhf_env.task import Task
from rlhf_env.tasks.games.guess.rules import WORDS, Found, User, still_findable, token_of
from rlhf_env.tasks.games.language_model import ASSETS, load_language_model
from rlhf_env.tasks.games.words import EOS_ID, word_tokenizer

__all__ = ["guess_task"]

MOST_TURNS = 8
_LARGE = 256


def guess_task(turns: int = 5, *, kl_coef: float = 0.02, folder: Path = ASSETS) -> Task:
    """Return "guess-k": numbers up to 2^k − 1, which k turns can tell apart by halving.

    Prompts are ranges of at least three numbers. From k = 4 on a fifth of them is held out; at 2
    and 3, where everything can be enumerated, all are trained and evaluated on.

    Args:
        turns: k, 2 to 8.
        kl_coef: beta.
        folder: assets of a build; the committed ones by default.

    Raises:
        ValueError: if k is out of range.
    """
    check_count("turns", turns, 2)
    if turns > MOST_TURNS:
        raise ValueError(f"turns must be at most {MOST_TURNS}, got {turns}")
    largest = 2**turns - 1
    words = WORDS.words[: token_of(largest) + 1]
    prompts, eval_prompts = ranges(largest)
    return Task(
        name=f"guess-{turns}",
        tokenizer=word_tokenizer(words),
        reference=load_language_model("guess", len(WORDS), folder),
        reward=Found(),
        prompts=prompts,
        eval_prompts=eval_prompts,
        max_prompt_tokens=2,
        # The last guess is not answered, so its turn needs no end.
        max_new_tokens=2 * turns - 1,
        kl_coef=kl_coef,
        respond=User(),
        end_of_turn_id=EOS_ID,
        max_turns=turns,
        max_environment_tokens=turns - 1,
        step_scores=lambda prompts, histories: still_findable(prompts, histories, turns),
    )


def ranges(largest: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the prompts of ranges within 1 to ``largest``, to train and to evaluate on.

    Where there are many ranges, 256 of them are drawn, half of the numbers or more in each.
    """
    few = largest <= 7
    least = 3 if few else (largest + 1) // 2
    every = [
        (low, high) for low in range(1, largest + 1) for high in range(low + least - 1, largest + 1)
    ]
    if not few:
        random.Random(largest).shuffle(every)
        every = every[:_LARGE]
    prompts = [torch.tensor([token_of(low), token_of(high)]) for low, high in every]
    if few:
        return prompts, prompts
    held_out = len(prompts) // 5
    return prompts[held_out:], prompts[:held_out]
