"""The one batch of pairs that all sides of a row learn from comparisons of."""

from __future__ import annotations

import torch

from benchmarks.works import Order

EOS, FIRST_WORD = 1, 2


def pair_ids(order: Order) -> list[tuple[list[int], list[int], list[int]]]:
    """Return prompt, better and worse answer of each pair: random words, answers with their end."""
    work = order.work
    generator = torch.Generator().manual_seed(1)
    shape = (work.prompts, 2, work.new_tokens - 1)
    words = torch.randint(FIRST_WORD, work.vocab_size, shape, generator=generator).tolist()
    prompts = order.prompts()[: work.prompts]
    return [(p, [*a, EOS], [*b, EOS]) for p, (a, b) in zip(prompts, words, strict=True)]
