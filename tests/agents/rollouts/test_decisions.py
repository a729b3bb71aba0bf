"""Sums and picks by decision, on two episodes written out by hand."""

from __future__ import annotations

import math

import torch

from agents.algorithm import take_rows
from agents.rollouts.decisions import first_of_decision, is_decision, sum_per_decision
from rlhf_env.rollout import Rollout

# Prompts of two and one tokens; responses of three and four, one of them padded.
IS_ACTION = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0]], dtype=torch.bool)
VALUES = torch.tensor([[9.0, 9.0, 1.0, 2.0, 4.0, 9.0], [9.0, 1.0, 3.0, 5.0, 7.0, 9.0]])
TOKENS = [[-1, -1, 0, 1, 2, -1], [-1, 0, 1, 2, 3, -1]]
MACROS = [[-1, -1, 0, 0, 1, -1], [-1, 0, 1, 1, 1, -1]]
BANDIT = [[-1, -1, 0, 0, 0, -1], [-1, 0, 0, 0, 0, -1]]


def rollout(decision: list[list[int]]) -> Rollout:
    nothing = torch.zeros(2, 6)
    return Rollout(
        tokens=torch.ones(2, 6, dtype=torch.int64),
        is_action=IS_ACTION,
        logprobs=nothing,
        ref_logprobs=nothing,
        rewards=nothing,
        reward_terms={"score": nothing, "kl": nothing},
        score=torch.zeros(2),
        terminated=torch.ones(2, dtype=torch.bool),
        group=torch.arange(2),
        prompt_index=torch.zeros(2, dtype=torch.int64),
        decision=torch.tensor(decision),
    )


def test_tokens() -> None:
    episodes = rollout(TOKENS)
    expected = [[1.0, 2.0, 4.0, 0.0], [1.0, 3.0, 5.0, 7.0]]
    assert sum_per_decision(VALUES, episodes).tolist() == expected
    assert first_of_decision(VALUES, episodes).tolist() == expected
    assert is_decision(episodes).tolist() == [[True, True, True, False], [True] * 4]


def test_macro_actions() -> None:
    episodes = rollout(MACROS)
    assert sum_per_decision(VALUES, episodes).tolist() == [[3.0, 4.0], [1.0, 15.0]]
    assert first_of_decision(VALUES, episodes).tolist() == [[1.0, 4.0], [1.0, 3.0]]
    assert is_decision(episodes).tolist() == [[True, True], [True, True]]


def test_whole_responses() -> None:
    episodes = rollout(BANDIT)
    assert sum_per_decision(VALUES, episodes).tolist() == [[7.0], [16.0]]
    assert first_of_decision(VALUES, episodes).tolist() == [[1.0], [1.0]]
    assert is_decision(episodes).tolist() == [[True], [True]]


def test_what_is_no_action_never_counts() -> None:
    spoilt = VALUES.masked_fill(~IS_ACTION, math.nan)
    for decision in (TOKENS, MACROS, BANDIT):
        episodes = rollout(decision)
        assert torch.equal(sum_per_decision(spoilt, episodes), sum_per_decision(VALUES, episodes))
        assert torch.equal(first_of_decision(spoilt, episodes), first_of_decision(VALUES, episodes))


def test_a_part_of_the_rows_keeps_the_width_of_the_whole() -> None:
    episodes = rollout(TOKENS)
    first = take_rows(episodes, torch.tensor([0]))
    assert sum_per_decision(VALUES[:1], first, 4).tolist() == [[1.0, 2.0, 4.0, 0.0]]
    assert first_of_decision(VALUES[:1], first, 4).tolist() == [[1.0, 2.0, 4.0, 0.0]]


def test_gradient_flows_to_the_tokens_of_a_decision() -> None:
    values = VALUES.clone().requires_grad_(True)
    sum_per_decision(values, rollout(MACROS))[1, 1].backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.0] * 6, [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]]
