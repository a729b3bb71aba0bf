"""Stepping and transforming a rollout pay the same within 1e-6, on every response of "toy15".

The reference of "toy15" is a table, so that a cached and a full pass give the same logits: what
differs would be the wrappers. Transformers are compared in `test_rollout`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.wrappers.episodes import TOY15, as_rollout, transformed
from tests.wrappers.pairs import GRANULARITIES, REFUSED, REWARDS, pair, toy15_in_lines
from tests.wrappers.stacks import BANDITS, MACROS, Stack

PAYING = REWARDS | GRANULARITIES
PAIRS = {
    f"{outer}({inner})": pair(outer, inner)
    for outer in PAYING
    for inner in PAYING
    if inner not in REFUSED[outer]
}
# A bandit has no state to bootstrap from.
SINGLE = {name: stack for name, stack in PAYING.items() if name != "SequenceBandit"}
STACKS = PAIRS | {
    name: stack
    for name, stack in (MACROS | BANDITS).items()
    if "top_" not in name and "hidden" not in name
}


def step_through(env: Any, response: list[int]) -> list[tuple[int, float, dict[str, float]]]:
    """Write a response; the tokens after each step, its reward and its terms."""
    mdp, space = env.unwrapped.mdp, env.action_space
    env.reset(seed=0)
    steps, is_over = [], False
    while not is_over:
        begun = int(mdp.response_lengths[0])
        action: Any = response[begun]
        if isinstance(space, spaces.MultiDiscrete):
            # Where an action ends is for the wrapper to say.
            action = [*response[begun:], 0, 0, 0][: space.shape[0]]
        _, reward, terminated, truncated, info = env.step(action)
        steps.append((int(mdp.response_lengths[0]), reward, info["reward_terms"]))
        is_over = terminated or truncated
    return steps


def decided(rollout: Rollout, row: int) -> list[tuple[int, float, dict[str, float]]]:
    """The same of a row of a rollout, decision by decision."""
    steps, end = [], 0
    for number in range(int(rollout.decision[row].max()) + 1):
        at = rollout.decision[row] == number
        end += int(at.sum())
        terms = {name: float(term[row, at].sum()) for name, term in rollout.reward_terms.items()}
        steps.append((end, float(rollout.rewards[row, at].sum()), terms))
    return steps


def assert_alike(stack: Stack, task: Task, limit: str) -> None:
    """Step and transform all 15 responses, and compare them decision by decision."""
    env = stack(wrappers, RLHFEnv(task, length_limit=limit, missing_eos_penalty=0.7))
    rollout = transformed(env, as_rollout(task, [(0, response) for response in TOY15]))
    for row, response in enumerate(TOY15):
        steps, decisions = step_through(env, list(response)), decided(rollout, row)
        assert [end for end, *_ in steps] == [end for end, *_ in decisions]
        for (_, reward, terms), (_, expected, expected_terms) in zip(steps, decisions, strict=True):
            assert reward == pytest.approx(expected, abs=1e-6, rel=0)
            assert terms == pytest.approx(expected_terms, abs=1e-6, rel=0)


@pytest.mark.parametrize("limit", ["score", "penalize", "bootstrap"])
@pytest.mark.parametrize("stack", SINGLE.values(), ids=SINGLE)
def test_every_wrapper_steps_as_it_transforms(stack: Stack, limit: str) -> None:
    assert_alike(stack, toy15_in_lines(), limit)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_every_stack_of_two_steps_as_it_transforms(stack: Stack) -> None:
    assert_alike(stack, toy15_in_lines(), "penalize")


def test_the_stacks_are_many() -> None:
    # 16 wrappers in both orders, less those that are refused.
    assert len(PAIRS) == 16 * 16 - 81


def test_the_table_gives_the_same_logits_cached_and_at_once(toy15: Task) -> None:
    rollout = RLHFEnv(toy15).evaluate(as_rollout(toy15, [(0, response) for response in TOY15]))
    for row, response in enumerate(TOY15):
        env = RLHFEnv(toy15)
        env.reset(seed=0)
        stepped = [env.step(token)[4]["ref_logprob"] for token in response]
        at = rollout.is_action[row]
        torch.testing.assert_close(
            rollout.ref_logprobs[row, at], torch.tensor(stepped), atol=2e-7, rtol=0
        )
