"""What the environment says changes no advantage, return or loss, for any agent.

Episodes of one turn are compared with the same episodes into which tokens of the environment were
inserted, every number of the actions the same. Where the environment speaks, the outputs of the
policy and the critic are 100: reading them anywhere would be seen. Four mistakes of multi-turn
trainers are planted, and the comparison finds each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlhf_env.rollout import Rollout
from tests.agents.rollouts.insertions import (
    AGENTS,
    COUNTS,
    B,
    T,
    indifferent_task,
    inserted,
    learned_numbers,
    make,
    random_episodes,
)

MOST_EXAMPLES = settings(max_examples=12, deadline=None)


@pytest.fixture(scope="module")
def agents() -> dict[str, Any]:
    envs = gym.make_vec("RLHF-v0", num_envs=2, task=indifferent_task())
    return {name: make(name, envs) for name in AGENTS}


@pytest.mark.parametrize("name", AGENTS)
@MOST_EXAMPLES
@given(st.integers(0, 10_000), st.sampled_from([1, 2, T]), COUNTS)
def test_inserted_tokens_change_nothing(
    agents: dict[str, Any], name: str, seed: int, macro: int, rows: list[list[int]]
) -> None:
    """Also: no gradient goes through them, which `learned_numbers` looks at."""
    rollout, own = random_episodes(seed, macro)
    counts = torch.tensor([[0, *row] for row in rows])
    one = learned_numbers(agents[name], rollout, own)
    other = learned_numbers(agents[name], *inserted(rollout, own, counts))
    assert one.keys() == other.keys() >= {"losses"}
    assert any(key.startswith("gradient") for key in one)
    for key, value in one.items():
        # What is small beside others was added up from numbers of their size.
        atol = 1e-6 * max(1.0, float(value.double().abs().max()))
        assert torch.allclose(value.double(), other[key].double(), atol=atol), key


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=T - 1, max_size=T - 1))
def test_any_insertion_into_any_episodes(seed: int, row: list[int]) -> None:
    """The generalized advantages of a critic, for any rewards, values and insertions."""
    rollout, own = random_episodes(seed, 1)
    counts = torch.tensor([0, *row]).expand(B, T)
    assert differs(right, rollout, own, counts) < 1e-6


# -- four planted mistakes -------------------------------------------------------------------------
Advantages = Callable[[Rollout, Tensor], Tensor]
GAMMA, LAMBDA = 0.9, 0.8


def over_positions(rewards: Tensor, values: Tensor, is_step: Tensor, gamma: Any) -> Tensor:
    """GAE along positions, those that are no steps passed over; [B, L]."""
    advantages = torch.zeros_like(rewards)
    for row in range(len(rewards)):
        following, next_value = 0.0, 0.0
        for at in reversed(is_step[row].nonzero().flatten().tolist()):
            factor = gamma if isinstance(gamma, float) else gamma(row, at)
            delta = rewards[row, at] + factor * next_value - values[row, at]
            following = float(delta) + factor * LAMBDA * following
            next_value = float(values[row, at])
            advantages[row, at] = following
    return advantages


def right(rollout: Rollout, values: Tensor) -> Tensor:
    return over_positions(rollout.rewards, values, rollout.is_action, GAMMA)


def reward_before_an_observation_is_lost(rollout: Rollout, values: Tensor) -> Tensor:
    """verl#7278: what is paid just before a tool speaks never arrives."""
    goes_on = rollout.is_action.roll(-1, dims=1) | rollout.last_action
    return over_positions(rollout.rewards * goes_on, values, rollout.is_action, GAMMA)


def observations_are_steps(rollout: Rollout, values: Tensor) -> Tensor:
    """miles#1827: tool tokens are steps of GAE, over which rewards decay."""
    columns = torch.arange(rollout.tokens.shape[1])
    spoken = (columns >= rollout.prompt_lengths[:, None]) & (columns < rollout.lengths[:, None])
    quiet = torch.where(rollout.is_action, values, 0.0)
    return over_positions(rollout.rewards, quiet, spoken, GAMMA)


def masked_values_leak(rollout: Rollout, values: Tensor) -> Tensor:
    """ROLL#447: the critic's value at the next position counts, whoever wrote it."""
    advantages = right(rollout, values)
    after = values.roll(-1, dims=1)
    goes_on = rollout.is_action & ~rollout.last_action
    leak = torch.where(goes_on & ~rollout.is_action.roll(-1, dims=1), after, 0.0)
    return advantages + GAMMA * leak


def discount_counts_positions(rollout: Rollout, values: Tensor) -> Tensor:
    """verl#2337: gamma to the power of the distance in the text."""

    def factor(row: int, at: int) -> float:
        later = rollout.is_action[row, at + 1 :].nonzero()
        return GAMMA ** (int(later[0]) + 1) if len(later) else GAMMA

    return over_positions(rollout.rewards, values, rollout.is_action, factor)


def differs(
    advantages: Advantages, rollout: Rollout, own: Mapping[str, Tensor], counts: Tensor
) -> float:
    """Return how much the advantages of the actions change by inserted tokens."""
    wide, wide_own = inserted(rollout, own, counts)
    one = advantages(rollout, own["value"])[rollout.is_action]
    other = advantages(wide, wide_own["value"])[wide.is_action]
    return float((one - other).abs().max())


@pytest.mark.parametrize(
    "planted",
    [
        reward_before_an_observation_is_lost,
        observations_are_steps,
        masked_values_leak,
        discount_counts_positions,
    ],
)
def test_planted_mistakes_are_found(planted: Advantages) -> None:
    rollout, own = random_episodes(0, 1)
    counts = torch.ones(B, T, dtype=torch.int64)
    counts[:, 0] = 0
    nothing = torch.zeros_like(counts)
    assert differs(right, rollout, own, counts) < 1e-6
    assert differs(planted, rollout, own, nothing) == 0.0
    assert torch.allclose(planted(rollout, own["value"]), right(rollout, own["value"]))
    assert differs(planted, rollout, own, counts) > 0.01
