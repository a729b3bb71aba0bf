"""Prompts are drawn by p (1 − p) of their tier, from literals, and draws can be repeated."""

from __future__ import annotations

import numpy as np
import pytest

from agents.samplers.prompt_tiers import PromptTiers


def test_probabilities_of_literals() -> None:
    tiers = PromptTiers(3, memory=0.5, floor=0.05)
    assert tiers.probabilities.tolist() == pytest.approx([1 / 3] * 3)
    # Half of the first estimate's (1, 2) is left, half of it is put back, and four trials come.
    tiers.observe([0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 1, 1])
    assert tiers.success.tolist() == pytest.approx([5 / 6, 3 / 6, 1 / 2])
    weights = [5 / 36 + 0.05, 0.25 + 0.05, 0.25 + 0.05]
    assert tiers.probabilities.tolist() == pytest.approx([w / sum(weights) for w in weights])


def test_prompts_of_a_tier_share_what_was_seen() -> None:
    tiers = PromptTiers(4, tiers=[0, 0, 1, 1], memory=0.0)
    tiers.observe([0], [1.0])
    # (1 + 1) of (2 + 1) for the first tier.
    assert tiers.success.tolist() == pytest.approx([2 / 3, 1 / 2])
    first, second, third, fourth = tiers.probabilities
    assert first == second
    assert third == fourth
    assert first / third == pytest.approx((2 / 9 + 0.05) / 0.3)


def test_what_is_solved_or_hopeless_is_drawn_rarely() -> None:
    tiers = PromptTiers(3, memory=0.9, floor=0.01)
    for _ in range(60):
        tiers.observe([0, 1, 2] * 8, [1.0, 0.0, 1.0, 1.0, 0.0, 0.0] * 4)
    drawn = np.bincount(tiers.draw(3000, update=1), minlength=3)
    assert drawn[2] > 2400


def test_draws_are_those_of_seed_update_and_state() -> None:
    first, second = PromptTiers(8, seed=3), PromptTiers(8, seed=3)
    first.observe([1, 2, 3], [1.0, 0.0, 0.5])
    second.load_state_dict(first.state_dict())
    assert first.draw(16, update=5).tolist() == second.draw(16, update=5).tolist()
    assert first.draw(16, update=5).tolist() != first.draw(16, update=6).tolist()


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="one number >= 0 for each of 3"):
        PromptTiers(3, tiers=[0, 1])
    with pytest.raises(ValueError, match="memory must be below 1"):
        PromptTiers(3, memory=1.0)
    tiers = PromptTiers(3)
    with pytest.raises(ValueError, match="scale the scores"):
        tiers.observe([0], [2.0])
    with pytest.raises(ValueError, match="scale the scores"):
        tiers.observe([0], [1.0, 0.0])
    with pytest.raises(ValueError, match="of 3 tiers, got one of 2"):
        tiers.load_state_dict(PromptTiers(2).state_dict())
