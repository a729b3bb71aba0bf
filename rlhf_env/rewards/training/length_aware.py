"""A reward with a head for quality and one for length, of which the second is thrown away (ODIN).

People prefer longer responses at equal quality, and a reward learns it. Here two heads on one trunk
explain the comparisons together; one is asked to follow the length, the other not to
(Chen et al., arXiv:2402.07319).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.elements import Batch, Element
from rlhf_env.rewards.training.objective import Agreement
from rlhf_env.rewards.training.pair_objectives import PairObjective, PairTarget

# Of a correlation's denominator: scores that are all equal have none.
_LEAST = 1e-8


class LengthAwareModel(nn.Module):
    """A reward model with a second head, of length; `rlhf_env.rewards.training.fit.fit` fits it.

    The heads are read at the last token::

        model = LengthAwareModel(ScalarRewardModel(trunk), generator=generator)
        fit(model, LengthAwareObjective(model), train, held_out, settings, generator)
        reward = model.quality()
    """

    def __init__(self, model: ScalarRewardModel, *, generator: torch.Generator) -> None:
        """Take a model whose head becomes that of quality, and draw the other.

        Args:
            model: is trained in place.
            generator: draws the head of length from N(0, 1/(H + 1)), as `train` draws heads.
        """
        super().__init__()
        self.model = model
        self.length_head = nn.Linear(model.head.in_features, 1, bias=False)
        with torch.no_grad():
            spread = (model.head.in_features + 1) ** -0.5
            self.length_head.weight.normal_(0.0, spread, generator=generator)
        self.length_head.to(model.head.weight.device)

    def scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the quality and the length score at every position, [B, L, 2].

        Args:
            input_ids: [B, L] prompt and response, padded on the right.
            attention_mask: [B, L] 1 where there is a token.
        """
        trunk = self.model.trunk
        output = trunk(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        hidden = output.last_hidden_state
        return torch.cat([self.model.head(hidden), self.length_head(hidden)], dim=-1)

    def head_overlap(self) -> Tensor:
        """Return the absolute cosine of the two heads' weights, a scalar."""
        return nn.functional.cosine_similarity(
            self.model.head.weight, self.length_head.weight, dim=1
        ).abs()[0]

    def quality(self) -> ScalarRewardModel:
        """Return the reward without the head of length, as a model of its own."""
        return copy.deepcopy(self.model)


@dataclass(frozen=True, eq=False)
class LengthAwareObjective:
    """Bradley-Terry on the sum of both heads, and on each what it has to do with length.

    −ln σ(Δ(q + l)) + length_coef (abs(ρ(q, n)) − ρ(l, n)) + orthogonal_coef abs(cos(W_q, W_l))

    for quality q, length score l, tokens n of a response, Δ of a pair, and Pearson's ρ over a batch
    (arXiv:2402.07319, equations from memory; the authors take the product of the heads' weights
    where this takes the cosine, which has no scale).
    """

    model: LengthAwareModel
    """Whose heads are kept apart."""
    pairs: PairObjective = field(default_factory=PairObjective)
    """What the sum of both heads has to explain."""
    length_coef: float = 1.0
    """Weight of the correlations."""
    orthogonal_coef: float = 1.0
    """Weight of the heads' cosine."""

    def target(self, record: object, tokenizer: object) -> PairTarget:
        """Return the pairs of a record; see `PairObjective.target`."""
        return self.pairs.target(record, tokenizer)  # type: ignore[arg-type]

    def losses(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[PairTarget]]
    ) -> Tensor:
        """Return one loss per element, [E], of the scores [N, L, 2]."""
        ranking = self.pairs.losses(scores.sum(dim=-1), batch, elements)
        lengths = batch.is_response.sum(dim=1).to(scores)
        quality, length = (batch.final(part) for part in scores.unbind(dim=-1))
        of_length = correlation(quality, lengths).abs() - correlation(length, lengths)
        apart = self.model.head_overlap()
        return ranking + self.length_coef * of_length + self.orthogonal_coef * apart

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[PairTarget]]
    ) -> Agreement:
        """Return how much of the judgments the sum of both heads reproduces."""
        return self.pairs.agreement(scores.sum(dim=-1), batch, elements)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of two vectors [N], a scalar; 0 where one is constant."""
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / (a.norm() * b.norm()).clamp(min=_LEAST)
