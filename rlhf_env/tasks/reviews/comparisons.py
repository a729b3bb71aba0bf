"""Comparisons for the reviews task: pairs of sampled reviews and which one a rater preferred.

Raters see the gold reward through noise, are a little impressed by length, and read nothing long
or unfinished. So the proxy that learns from them is biased where it has seen text, and must guess
about everything that optimisation will later find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from rlhf_env.tasks.pretraining import sample_responses
from rlhf_env.tasks.reviews.gold import GoldReward


@dataclass(frozen=True, kw_only=True)
class Rater:
    """How preferences come from gold scores.

    P(first preferred) = (1 − f)·σ((Δgold + λ·Δlength)/τ) + f/2
    """

    temperature: float = 0.5
    """τ, in units of the gold score."""
    careless: float = 0.1
    """f, share of labels decided by a fair coin."""
    length_bias: float = 0.04
    """λ, by how much one more token impresses, in units of the gold score."""
    longest: int = 24
    """Reviews of more tokens are not shown; unfinished ones never are."""

    def prefers_first(self, margin: Tensor, extra_length: Tensor) -> Tensor:
        """Return P(first preferred), [P].

        Args:
            margin: [P] gold(first) − gold(second).
            extra_length: [P] tokens of the first beyond those of the second.
        """
        seen = margin + self.length_bias * extra_length
        careful = torch.sigmoid(seen / self.temperature)
        return (1.0 - self.careless) * careful + self.careless / 2.0


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """P labelled pairs."""

    prompts: list[Tensor]
    """Ids of each pair's prompt."""
    chosen: list[Tensor]
    """Ids of each preferred response."""
    rejected: list[Tensor]
    """Ids of each other response."""
    gold_margin: Tensor
    """[P] gold(chosen) − gold(rejected); negative where the label is wrong."""

    def __len__(self) -> int:
        """Return the number of pairs P."""
        return len(self.prompts)


def sample_for(
    model: LlamaForCausalLM,
    prompts: Sequence[Tensor],
    count: int,
    max_new_tokens: int,
    generator: torch.Generator,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return ``count`` prompts, in turn from ``prompts``, and one sampled response to each."""
    asked = [prompts[index % len(prompts)] for index in range(count)]
    said: list[Tensor] = []
    for start in range(0, count, 1024):
        batch = torch.stack(asked[start : start + 1024])
        said += sample_responses(model, batch, max_new_tokens, generator)
    return asked, said


def compare(
    model: LlamaForCausalLM,
    prompts: Sequence[Tensor],
    count: int,
    rater: Rater,
    generator: torch.Generator,
) -> Comparisons:
    """Sample pairs from the language model and have them labelled.

    Args:
        model: writes both responses of a pair.
        prompts: ids of the prompts to use, in turn.
        count: pairs.
        rater: labels them.
        generator: draws responses and labels.

    Returns:
        ``count`` pairs; the two responses of a pair differ.
    """
    asked: list[Tensor] = []
    pairs: list[tuple[Tensor, Tensor]] = []
    batch = min(2 * count, 1024)
    while len(pairs) < count:
        # One token more than a rater reads: a row cut there is known not to be shown.
        drawn, first = sample_for(model, prompts, batch, rater.longest + 1, generator)
        _, second = sample_for(model, prompts, batch, rater.longest + 1, generator)
        for prompt, a, b in zip(drawn, first, second, strict=True):
            if max(len(a), len(b)) <= rater.longest and not torch.equal(a, b):
                asked.append(prompt)
                pairs.append((a, b))
    return _labelled(asked[:count], pairs[:count], rater, generator)


def _labelled(
    prompts: list[Tensor],
    pairs: list[tuple[Tensor, Tensor]],
    rater: Rater,
    generator: torch.Generator,
) -> Comparisons:
    gold = GoldReward()
    margin = gold(prompts, [a for a, _ in pairs]) - gold(prompts, [b for _, b in pairs])
    extra_length = torch.tensor([len(a) - len(b) for a, b in pairs])
    prefers_first = rater.prefers_first(margin, extra_length)
    is_first = torch.rand(len(pairs), generator=generator) < prefers_first
    return Comparisons(
        prompts=prompts,
        chosen=[a if first else b for (a, b), first in zip(pairs, is_first, strict=True)],
        rejected=[b if first else a for (a, b), first in zip(pairs, is_first, strict=True)],
        gold_margin=torch.where(is_first, margin, -margin),
    )
