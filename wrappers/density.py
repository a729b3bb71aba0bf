"""Reward density: which step is paid which part of a response's score.

Formulas and the record they work on; no environment is in here. A density is written once, for B
responses side by side: finished ones of a rollout, or those that rows have written so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rlhf_env.rollout import Rollout
from wrappers.pay import Responses
from wrappers.prefix_scores import PrefixScorer, checked_prefix_scores


@dataclass(frozen=True, kw_only=True)
class ScoredPrefixes:
    """B responses, the score of each of their prefixes, and what their end is paid.

    Index t - 1 of a [B, T] field speaks of the step that writes the response's t-th token.

    Attributes:
        phi: [B, T + 1] prefix scores, phi[:, t] after t tokens; 0 beyond the response.
        counts: [T] 1 ... T, the tokens of the response after each step.
        starts: [B, T] how many stood there before the action that wrote the t-th; t − 1 where
            actions are single tokens.
        is_last: [B, T] bool, True at the last token of an action.
        is_end: [B, T] bool, True at the step that terminates the episode. A response that was
            truncated, or is still being written, has none.
        paid: [B, 1] the score term that the environment pays at that step.
    """

    phi: Tensor
    counts: Tensor
    starts: Tensor
    is_last: Tensor
    is_end: Tensor
    paid: Tensor


@dataclass(frozen=True, kw_only=True)
class Density:
    """A way to pay a score, or shaping, over the steps of a response.

    Attributes:
        term: the name in ``reward_terms`` of what it pays: "score" (in place of the environment's
            own) or "shaping".
        terms: ``f(scored: ScoredPrefixes) -> [B, T]``, what each step is paid.
        every: only steps that write a multiple of so many tokens, or terminate, pay.
        gamma: the discount per decision that ``terms`` are made for.
        pays_actions: whether actions of several tokens can be paid as well as single tokens.
    """

    term: str
    terms: Callable[[ScoredPrefixes], Tensor]
    every: int = 1
    gamma: float = 1.0
    pays_actions: bool = False


def density_terms(density: Density, score_prefixes: PrefixScorer, given: Responses) -> Tensor:
    """Return what a density pays at each step of some responses, [B, T] float64 on the CPU."""
    scores = checked_prefix_scores(score_prefixes, given.prompts, given.responses)
    phi = pad_sequence(scores, batch_first=True)
    lengths = torch.tensor([len(ids) for ids in given.responses])[:, None]
    counts = torch.arange(1, phi.shape[1])
    is_end = (counts == lengths) & given.terminated.cpu()[:, None]
    paid = given.paid.double().cpu()[:, None]
    starts = pad_sequence([row.cpu() for row in given.starts], batch_first=True)
    next_starts = torch.cat([starts[:, 1:], torch.full_like(starts[:, :1], -1)], dim=1)
    scored = ScoredPrefixes(
        phi=phi,
        counts=counts,
        starts=starts,
        is_last=(next_starts != starts) | (counts == lengths),
        is_end=is_end,
        paid=paid,
    )
    return torch.where(counts <= lengths, density.terms(scored), 0.0)


def newest_terms(density: Density, score_prefixes: PrefixScorer, given: Responses) -> Tensor:
    """Return what a density pays for the last token of some responses, [B] float64.

    Prefixes are only scored where a piece is due.
    """
    lengths = torch.tensor([len(ids) for ids in given.responses])
    due = (lengths % density.every == 0) | given.terminated
    newest = torch.zeros(len(lengths), dtype=torch.float64)
    rows = due.nonzero().flatten().tolist()
    if rows:
        scored = Responses(
            prompts=[given.prompts[row] for row in rows],
            responses=[given.responses[row] for row in rows],
            starts=[given.starts[row] for row in rows],
            terminated=given.terminated[due],
            paid=given.paid[due],
        )
        terms = density_terms(density, score_prefixes, scored)
        newest[due] = terms.gather(1, lengths[due][:, None] - 1).squeeze(1)
    return newest


def redistributed(density: Density, score_prefixes: PrefixScorer, rollout: Rollout) -> Rollout:
    """Return finished episodes paid by a density, with the numbers of stepping.

    What an action of several tokens is paid stands at its last one.
    """
    given = Responses(
        prompts=rollout.prompts(),
        responses=rollout.responses(),
        starts=_starts(rollout),
        terminated=rollout.terminated,
        paid=rollout.reward_terms["score"].double().sum(dim=1),
    )
    terms = density_terms(density, score_prefixes, given)
    is_step = torch.arange(terms.shape[1]) < rollout.response_lengths.cpu()[:, None]
    paid = torch.zeros_like(rollout.rewards)
    paid[rollout.is_action] = terms[is_step].to(paid)
    return rollout.with_term(density.term, paid)


def _starts(rollout: Rollout) -> list[Tensor]:
    """Return for each response how many of its tokens stood before each token's decision."""
    index = rollout.is_action.long().cumsum(dim=1) - 1
    is_first = rollout.is_action & (rollout.decision != rollout.decision.roll(1, dims=1))
    starts = torch.where(is_first, index, 0).cummax(dim=1).values
    return [row[is_action] for row, is_action in zip(starts, rollout.is_action, strict=True)]
