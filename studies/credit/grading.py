"""Grading credit: whether the tokens that changed an automaton's state were given the most."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rlhf_env.exact.automaton import EOS, automaton_of
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


def visited_states(task: Task, rollout: Rollout) -> Tensor:
    """Return the automaton's state before the first and after each token, [B, R + 1] int64.

    R is the length of the longest response; behind the end of a shorter one its state stays.

    Raises:
        ValueError: if the task is no automaton task.
    """
    automaton = automaton_of(task)
    if automaton is None:
        raise ValueError(
            f"task {task.name!r} has no automaton whose changes of state would tell which tokens "
            "are causal; take one that rlhf_env.tasks.automaton_task makes"
        )
    starts = torch.tensor([automaton.start_of(prompt) for prompt in rollout.prompts()])
    responses = [response.cpu() for response in rollout.responses()]
    return automaton.states(starts, pad_sequence(responses, True, EOS))


def causal_tokens(task: Task, rollout: Rollout) -> Tensor:
    """Return True at the tokens that changed the state, and with it the score to come: [B, L].

    Raises:
        ValueError: if the task is no automaton task.
    """
    states = visited_states(task, rollout)
    return by_token(states.diff(dim=1) != 0, rollout)


def by_token(values: Tensor, rollout: Rollout) -> Tensor:
    """Return values of the tokens of each response [B, R] where `Rollout` has them, [B, L]."""
    placed = values.new_zeros(rollout.tokens.shape)
    is_token = torch.arange(values.shape[1]) < rollout.response_lengths[:, None].cpu()
    placed[rollout.is_action.cpu()] = values[is_token]
    return placed


def episode_aucs(credit: Tensor, causal: Tensor, is_action: Tensor) -> list[float]:
    """Return the area under the ROC curve of each episode in which only some tokens are causal.

    It is the probability that a causal token of the episode was given more than another one, ties
    counting half, so what is the same for all tokens of an episode has 0.5. Episodes are not
    pooled: which of them scored more is no question of credit within them.

    Args:
        credit: [B, L] what each token is given; only its order within an episode counts.
        causal: [B, L] bool, the tokens to find.
        is_action: [B, L] bool, the tokens of the responses.
    """
    aucs: list[float] = []
    for given, wanted, chosen in zip(credit, causal, is_action, strict=True):
        truth, scores = wanted[chosen].numpy(), given[chosen].numpy()
        if truth.any() and not truth.all():
            aucs.append(float(roc_auc_score(truth, scores)))
    return aucs


def mean_auc(aucs: Sequence[float]) -> float:
    """Return the mean over episodes; NaN where there is none to grade."""
    return float(np.mean(aucs)) if aucs else math.nan
