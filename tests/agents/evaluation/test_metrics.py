"""Figures of two episodes written out by hand."""

from __future__ import annotations

import pytest
import torch

from agents.evaluation.metrics import distinct_ngrams, rollout_metrics
from rlhf_env.rollout import Rollout
from rlhf_env.tasks import load_task


def two_episodes() -> Rollout:
    """Log-ratios (0.1, 0.1) and (0.3), trap D7; one response ends by EOS (0), one does not."""
    ratios = torch.tensor([[0.0, 0.1, 0.1], [0.0, 0.3, 0.0]])
    nothing = torch.zeros(2, 3)
    return Rollout(
        tokens=torch.tensor([[0, 1, 0], [0, 2, 0]]),
        is_action=torch.tensor([[False, True, True], [False, True, False]]),
        logprobs=ratios - 1.0,
        ref_logprobs=nothing - 1.0,
        rewards=torch.tensor([[0.0, -1.0, 3.0], [0.0, 4.0, 0.0]]),
        reward_terms={"score": nothing, "kl": nothing},
        score=torch.tensor([1.25, -0.5]),
        terminated=torch.ones(2, dtype=torch.bool),
        group=torch.arange(2),
        prompt_index=torch.zeros(2, dtype=torch.int64),
        decision=torch.tensor([[-1, 0, 1], [-1, 0, -1]]),
    )


def test_means_over_episodes() -> None:
    found = rollout_metrics(two_episodes(), load_task("toy15"))
    assert found == pytest.approx(
        {
            "score": 0.375,
            "kl": 0.25,
            # exp(-0.1) - 1 + 0.1 = 0.004837418 twice, exp(-0.3) - 1 + 0.3 = 0.040818221.
            "kl_k3": 0.025246528,
            "return": 3.0,
            "response_length": 1.5,
            "eos_rate": 0.5,
        },
        abs=1e-6,
    )


def test_distinct_ngrams() -> None:
    """Responses (1, 0) and (2): three tokens, one pair."""
    assert distinct_ngrams(two_episodes(), 1) == 1.0
    assert distinct_ngrams(two_episodes(), 2) == 1.0
    assert distinct_ngrams(two_episodes(), 3) == 0.0
    twice = two_episodes().replace(tokens=torch.tensor([[0, 1, 1], [0, 1, 0]]))
    assert distinct_ngrams(twice, 1) == pytest.approx(1 / 3)
