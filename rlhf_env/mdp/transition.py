"""What a step of the MDP pays and reports: pure functions of tokens and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf_env.kl import k1
from rlhf_env.mdp.options import Options
from rlhf_env.task import Task


def kl_term(ref_logprobs: Tensor, logprobs: Tensor | None) -> Tensor:
    """Return kl_t of the "reference" (``logprobs`` None) or "sampled" penalty.

    kl_t = log pi(a|s) - log pi_ref(a|s), the unbiased estimator k1. Without log pi the policy's
    part is left to the agent: kl_t = -log pi_ref(a|s).
    """
    return -ref_logprobs if logprobs is None else k1(logprobs, ref_logprobs)


def paid_score(scores: Tensor, is_finished: Tensor, options: Options) -> Tensor:
    """Return the score term of the reward of an ended episode.

    Args:
        scores: [B] the reward model's scores.
        is_finished: [B] bool, False where the limit ended the episode.
        options: ``length_limit`` and ``missing_eos_penalty`` decide what the limit means.
    """
    if options.length_limit == "penalize":
        return scores - options.missing_eos_penalty * ~is_finished
    if options.length_limit == "bootstrap":
        return torch.where(is_finished, scores, 0.0)
    return scores


def ends_text(tokens: Tensor, task: Task) -> Tensor:
    """Return which tokens finish an episode unless the environment answers, bool."""
    is_eos = tokens == task.eos_id
    return is_eos if task.respond is None else is_eos | (tokens == task.turn_end_id)


def ends_turns(tokens: Tensor, is_action: Tensor, task: Task) -> Tensor | None:
    """Return [B, L] bool, True where an action ends a turn; None where the task has no turns.

    Args:
        tokens: [B, L] of episodes.
        is_action: [B, L] bool.
        task: gives the token that ends a turn.
    """
    if not task.has_turns:
        return None
    return is_action & (tokens == task.turn_end_id)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step did to each of N rows; rows that did not take part hold 0 and False."""

    ref_logprobs: Tensor
    """[N] log pi_ref(a|s)."""
    score_term: Tensor
    """[N] the score, on the step that ends the episode."""
    kl_penalty: Tensor
    """[N] -kl_coef * kl_t."""
    score: Tensor
    """[N] the reward model's raw score at the end (0 where "bootstrap" asks for none)."""
    ended: Tensor
    """[N] bool."""
    finish_reason: Sequence[str | None]
    """N of "eos", "environment" (a conversation that is over after a turn) or "length"; None where
    the episode goes on."""
    truncated: Tensor
    """[N] bool, True where ``length_limit="bootstrap"`` cut the episode."""
    turn: Tensor | None = None
    """[N] the number of the turn that the action belongs to, from 0; None without turns."""


def finish_reasons(
    actions: Tensor, ended: Tensor, is_finished: Tensor, task: Task
) -> list[str | None]:
    """Return why the episode of each row has ended; None where it goes on.

    Args:
        actions: [N] the last tokens.
        ended: [N] bool.
        is_finished: [N] bool, False where the limit ended the episode.
        task: gives EOS.
    """
    reasons: list[str | None] = [None] * len(ended)
    for row in ended.nonzero().flatten().tolist():
        by_eos = int(actions[row]) == task.eos_id
        reasons[row] = ("eos" if by_eos else "environment") if is_finished[row] else "length"
    return reasons
