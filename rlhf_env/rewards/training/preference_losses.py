"""Losses of scores against human feedback: votes, ties, rankings, thumbs, ratings, marks.

All are functions of tensors, in nats. The plain loss on pairs, with its margin and centring, is
`rlhf_env.rewards.bradley_terry.bradley_terry_loss`; this module knows no data format.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def vote_losses(
    chosen: Tensor, rejected: Tensor, votes: Tensor, margins: Tensor | float = 0.0
) -> Tensor:
    """Return the Bradley-Terry loss of each pair per vote; half of a tie counts for each side.

    −Σ shares · (ln σ(d − m), ½ ln σ(d) + ½ ln σ(−d), ln σ(−d − m)),  d = chosen − rejected

    With shares from several annotators these are soft labels.

    Args:
        chosen: [P] scores of the first responses.
        rejected: [P] scores of the others.
        votes: [P, 3] votes for the first, for neither, and for the other; at least one a row.
        margins: [P] or one number, by how much a preferred side should win.

    Returns:
        [P] losses; ln 2 for equal scores without margin, whatever the votes.
    """
    difference = chosen - rejected
    tie = (logsigmoid(difference) + logsigmoid(-difference)) / 2
    outcomes = [logsigmoid(difference - margins), tie, logsigmoid(-difference - margins)]
    return -(_shares(votes) * torch.stack(outcomes, dim=-1)).sum(dim=-1)


def davidson_losses(chosen: Tensor, rejected: Tensor, votes: Tensor, tie_strength: float) -> Tensor:
    """Return the loss of each pair per vote where a tie is an outcome of its own.

    P(first, tie, other) ∝ (e^{d/2}, ν, e^{−d/2}),  d = chosen − rejected   (Davidson 1970)

    Without ties and with ν → 0 it is the Bradley-Terry loss.

    Args:
        chosen: [P] scores of the first responses.
        rejected: [P] scores of the others.
        votes: [P, 3] votes for the first, for neither, and for the other; at least one a row.
        tie_strength: ν > 0; equal responses tie with probability ν/(2 + ν).

    Returns:
        [P] losses.
    """
    half = (chosen - rejected) / 2
    log_strength = torch.full_like(half, tie_strength).log()
    logprobs = torch.stack([half, log_strength, -half], dim=-1).log_softmax(dim=-1)
    return -(_shares(votes) * logprobs).sum(dim=-1)


def kwise_loss(scores: Tensor, ranks: Tensor) -> Tensor:
    """Return the mean Bradley-Terry loss over all pairs of one prompt (arXiv:2203.02155).

    One element of a batch, whatever K: as K(K−1)/2 independent pairs a prompt would be learned
    by heart. Pairs of equal rank count half for each side.

    Args:
        scores: [K] of the responses to one prompt.
        ranks: [K] 1 for the best.
    """
    first, second = torch.triu_indices(len(scores), len(scores), offset=1)
    is_swapped = ranks[first] > ranks[second]
    better, worse = torch.where(is_swapped, second, first), torch.where(is_swapped, first, second)
    is_tie = (ranks[first] == ranks[second]).to(scores)
    votes = torch.stack([1 - is_tie, is_tie, torch.zeros_like(is_tie)], dim=-1)
    return vote_losses(scores[better], scores[worse], votes).mean()


def plackett_luce_loss(scores: Tensor, ranks: Tensor) -> Tensor:
    """Return the negative log-likelihood of one prompt's ranking (Luce 1959; Plackett 1975).

    −Σᵢ ( sᵢ − ln Σ{ e^{sⱼ} : rankⱼ ≥ rankᵢ } );  equal ranks as in Breslow (1974)

    Args:
        scores: [K] of the responses to one prompt.
        ranks: [K] 1 for the best.

    Returns:
        A scalar, the sum over the places; for K = 2 it is the Bradley-Terry loss.
    """
    is_left = ranks[None, :] >= ranks[:, None]
    left = scores.expand(len(scores), -1).masked_fill(~is_left, -torch.inf)
    return (left.logsumexp(dim=1) - scores).sum()


def thumb_losses(scores: Tensor, is_good: Tensor) -> Tensor:
    """Return the logistic loss of each thumb: P(up) = σ(score).

    Args:
        scores: [N] of the responses.
        is_good: [N] True for a thumb up.

    Returns:
        [N] losses.
    """
    return binary_cross_entropy_with_logits(scores, is_good.to(scores), reduction="none")


def rating_losses(scores: Tensor, ratings: Tensor, spread: float = 1.0) -> Tensor:
    """Return the squared difference of each score and rating, in squares of ``spread``.

    Args:
        scores: [N] forecasts, on the scale of the ratings.
        ratings: [N] the human ratings.
        spread: the ratings' standard deviation; makes the mean loss of the mean rating 1.

    Returns:
        [N] losses.
    """
    return ((scores - ratings) / spread) ** 2


def ordinal_losses(scores: Tensor, levels: Tensor, thresholds: Tensor) -> Tensor:
    """Return the loss of each rating where only the order of ratings counts (McCullagh 1980).

    P(level ≤ k) = σ(θₖ − score)

    Args:
        scores: [N] of the responses.
        levels: [N] int64 numbers of the ratings' levels, 0 to K − 1, the lowest first.
        thresholds: [K − 1] θ, rising.

    Returns:
        [N] losses.
    """
    edges = torch.cat(
        [thresholds.new_tensor([-torch.inf]), thresholds, thresholds.new_tensor([torch.inf])]
    )
    above = edges[levels] - scores
    below = edges[levels + 1] - scores
    # ln(σ(b) − σ(a)) = ln σ(b) + ln σ(−a) + ln(1 − e^{a − b}), which does not cancel far out.
    return -(logsigmoid(below) + logsigmoid(-above) + torch.log1p(-(above - below).exp()))


def token_losses(scores: Tensor, is_marked: Tensor, is_judged: Tensor) -> Tensor:
    """Return the mean logistic loss over each response's tokens: P(token is fine) = σ(score).

    Args:
        scores: [N, L] of the tokens.
        is_marked: [N, L] True where a token was marked as wrong.
        is_judged: [N, L] True at the response's tokens; at least one a row.

    Returns:
        [N] losses.
    """
    losses = binary_cross_entropy_with_logits(scores, (~is_marked).to(scores), reduction="none")
    sums = torch.where(is_judged, losses, 0.0).sum(dim=1)
    return sums / is_judged.sum(dim=1)


def _shares(votes: Tensor) -> Tensor:
    return votes / votes.sum(dim=-1, keepdim=True)
