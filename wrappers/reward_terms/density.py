"""Reward density: at which step which part of a response's score is in the reward.

Formulas and the record they work on; no environment is in here. A density is written once, for B
responses side by side: finished ones of a rollout, or the unfinished ones of a vector environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from rlhf_env.checks import check_choice, check_count, check_number
from rlhf_env.rollout import Rollout
from wrappers.reward_terms.prefix_scores import StateScorer
from wrappers.reward_terms.reward_term import Responses


@dataclass(frozen=True, kw_only=True)
class ScoredPrefixes:
    """B responses, the score of each of their prefixes, and the reward of their end.

    Index t - 1 of a [B, T] field belongs to the step that writes the agent's t-th token. In a
    conversation a prefix ends where the next token is chosen, after what the environment said.
    """

    phi: Tensor
    """[B, T + 1] prefix scores, phi[:, t] after t tokens; 0 beyond the response."""
    counts: Tensor
    """[T] 1 ... T, the agent's tokens after each step."""
    starts: Tensor
    """[B, T] the number of the agent's tokens before the action that wrote the t-th one; t − 1
    where actions are single tokens."""
    is_last: Tensor
    """[B, T] bool, True at the last token of an action."""
    is_end: Tensor
    """[B, T] bool, True at the step that terminates the episode. A response that was truncated, or
    is unfinished, has none."""
    score_term: Tensor
    """[B, 1] the environment's own score term at that step."""
    turns: Tensor | None = None
    """[B, T + 1] the turns that have ended after t tokens; all 0 where the density has no
    ``turn_end_id``."""


@dataclass(frozen=True, kw_only=True)
class Density:
    """A way to spread a score, or shaping, over the steps of a response."""

    name: str
    """The reward term it sets: "score" (in place of the environment's own) or "shaping"."""
    rewards: Callable[[ScoredPrefixes], Tensor]
    """``f(scored) -> [B, T]``, the term at each step. It may not look at later steps."""
    every: int = 1
    """Only steps that write a multiple of so many tokens, or terminate, have a reward."""
    turn_end_id: int | None = None
    """The token that ends a turn, where the density asks for turns."""
    at_turn_ends: bool = False
    """Only steps that end a turn, or terminate, have a reward."""
    gamma: float = 1.0
    """The discount per decision that ``rewards`` is made for."""
    per_action: bool = False
    """Whether actions of several tokens can have the term as well as single tokens."""

    def __post_init__(self) -> None:
        """Raise ValueError if the term is another one, or a number is out of range."""
        check_choice("name of a density", self.name, ("score", "shaping"))
        check_count("every", self.every)
        check_number("gamma", self.gamma, minimum=0.0, maximum=1.0)


def density_terms(density: Density, score_states: StateScorer, given: Responses) -> Tensor:
    """Return the term of a density at each step of some responses, [B, T] float64 on the CPU.

    Raises:
        ValueError: if the density answers with anything but [B, T] finite numbers.
    """
    phi = pad_sequence(score_states(given), batch_first=True)
    lengths = given.lengths[:, None]
    counts = torch.arange(1, phi.shape[1])
    starts = pad_sequence([row.cpu() for row in given.starts], batch_first=True)
    next_starts = torch.cat([starts[:, 1:], torch.full_like(starts[:, :1], -1)], dim=1)
    ends_turn = torch.zeros_like(phi[:, 1:], dtype=torch.bool)
    if density.turn_end_id is not None:
        ends = [ids == density.turn_end_id for ids in given.actions()]
        ends_turn = pad_sequence(ends, batch_first=True)
    scored = ScoredPrefixes(
        phi=phi,
        counts=counts,
        starts=starts,
        is_last=(next_starts != starts) | (counts == lengths),
        is_end=(counts == lengths) & given.terminated.cpu()[:, None],
        score_term=given.score_term.double().cpu()[:, None],
        turns=pad(ends_turn.long().cumsum(dim=1), (1, 0)),
    )
    has_reward = counts <= lengths
    if density.at_turn_ends:
        has_reward &= ends_turn | scored.is_end
    return torch.where(has_reward, _checked_rewards(density, scored, has_reward), 0.0)


def _checked_rewards(density: Density, scored: ScoredPrefixes, has_reward: Tensor) -> Tensor:
    """Return what a density pays, [B, T], finite wherever it is paid."""
    rewards = density.rewards(scored)
    shape = list(has_reward.shape)
    expected = f"rewards of a density must be a tensor [B, T] = {shape} of finite numbers"
    if not isinstance(rewards, Tensor):
        raise ValueError(f"{expected}, got {type(rewards).__name__}")
    if rewards.shape != has_reward.shape:
        raise ValueError(f"{expected}, got shape {list(rewards.shape)}")
    paid = rewards[has_reward]
    if not paid.isfinite().all():
        raise ValueError(f"{expected}, got {paid[~paid.isfinite()].tolist()[0]}")
    return rewards


def last_step_terms(density: Density, score_states: StateScorer, given: Responses) -> Tensor:
    """Return the term of a density at the last token of some responses, [B] float64.

    States are scored only where the density has a reward.
    """
    lengths = given.lengths
    due = lengths % density.every == 0
    if density.at_turn_ends:
        due &= torch.stack([ids[-1] for ids in given.actions()]) == density.turn_end_id
    due |= given.terminated.cpu()
    last = torch.zeros(len(lengths), dtype=torch.float64)
    rows = due.nonzero().flatten().tolist()
    if rows:
        scored = Responses(
            prompts=[given.prompts[row] for row in rows],
            responses=[given.responses[row] for row in rows],
            is_action=[given.is_action[row] for row in rows],
            starts=[given.starts[row] for row in rows],
            terminated=given.terminated.cpu()[due],
            score_term=given.score_term.cpu()[due],
        )
        terms = density_terms(density, score_states, scored)
        last[due] = terms.gather(1, lengths[due][:, None] - 1).squeeze(1)
    return last


def redistributed(density: Density, score_states: StateScorer, rollout: Rollout) -> Rollout:
    """Return finished episodes with the term of a density, with the numbers of stepping.

    The reward of an action of several tokens is at its last one.
    """
    given = Responses(
        prompts=rollout.prompts(),
        responses=rollout.responses(),
        is_action=rollout.responses_are_actions(),
        starts=_starts(rollout),
        terminated=rollout.terminated,
        score_term=rollout.reward_terms["score"].double().sum(dim=1),
    )
    terms = density_terms(density, score_states, given)
    is_step = torch.arange(terms.shape[1]) < rollout.response_lengths.cpu()[:, None]
    term = torch.zeros_like(rollout.rewards)
    term[rollout.is_action] = terms[is_step].to(term)
    return rollout.with_term(density.name, term)


def _starts(rollout: Rollout) -> list[Tensor]:
    """Return for each response the number of its actions' tokens before each one's decision."""
    index = rollout.is_action.long().cumsum(dim=1) - 1
    latest = rollout.decision.cummax(dim=1).values
    is_first = rollout.is_action & (rollout.decision != latest.roll(1, dims=1))
    starts = torch.where(is_first, index, 0).cummax(dim=1).values
    return [row[is_action] for row, is_action in zip(starts, rollout.is_action, strict=True)]
