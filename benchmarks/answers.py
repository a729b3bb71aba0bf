"""Two answers to every prompt, the same on all sides of a row that learns from comparisons."""

from __future__ import annotations

import torch

from benchmarks.works import Order

EOS, FIRST_WORD = 1, 2


def answer_ids(order: Order) -> list[tuple[list[int], list[int]]]:
    """Return the better and the worse answer to each prompt: random words and an end token."""
    work, count = order.work, len(order.prompts())
    generator = torch.Generator().manual_seed(1)
    shape = (count, 2, work.new_tokens - 1)
    words = torch.randint(FIRST_WORD, work.vocab_size, shape, generator=generator)
    return [([*better, EOS], [*worse, EOS]) for better, worse in words.tolist()]
