from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents import collect
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2_task
from wrappers import boundaries
from wrappers.vector import HiddenState, MacroAction, SequenceBandit


class Counter:
    """The token after the last one; log-probabilities say how long the text was."""

    def act(self, observation: dict[str, Any]) -> tuple[Any, Any]:
        lengths = observation["attention_mask"].sum(axis=1)
        last = observation["input_ids"][np.arange(len(lengths)), lengths - 1]
        return (last + 1) % 32, -lengths.astype(float)


@pytest.mark.parametrize(
    "wrap",
    [
        SequenceBandit,
        lambda envs: MacroAction(envs, 2),
        lambda envs: MacroAction(envs, 3),
        lambda envs: MacroAction(envs, boundary=boundaries.punctuation),
    ],
)
def test_an_agent_of_single_tokens_acts_the_same_under_every_granularity(wrap: Any) -> None:
    plain = collect(make_envs(tiny_gpt2_task(), 3), Counter(), 7, seed=0)
    coarse = collect(wrap(make_envs(tiny_gpt2_task(), 3)), Counter(), 7, seed=0)
    assert coarse.tokens.tolist() == plain.tokens.tolist()
    assert coarse.logprobs.tolist() == plain.logprobs.tolist()
    assert coarse.score.tolist() == pytest.approx(plain.score.tolist())


def test_the_rollout_carries_the_decisions() -> None:
    rollout = collect(MacroAction(make_envs(tiny_gpt2_task(), 3), 3), Counter(), 3, seed=0)
    assert rollout.decision[rollout.is_action].tolist() == [0, 0, 0, 1, 1, 1, 2, 2] * 3


class Whole(Counter):
    """It knows that an action is two tokens."""

    def act(self, observation: dict[str, Any]) -> tuple[Any, Any]:
        count = len(observation["input_ids"])
        return np.full((count, 2), 5), np.full(count, -1.0)


def test_an_agent_of_whole_actions_is_asked_once() -> None:
    rollout = collect(MacroAction(make_envs(tiny_gpt2_task(), 3), 2), Whole(), 3, seed=0)
    assert rollout.tokens[rollout.is_action].unique().tolist() == [5]


class Blind:
    def act(self, observation: np.ndarray) -> tuple[Any, Any]:
        return np.full(len(observation), 5), np.full(len(observation), -1.0)


def test_an_agent_that_does_not_see_the_text_must_return_whole_actions() -> None:
    envs = HiddenState(MacroAction(make_envs(tiny_gpt2_task(), 3), 2))
    with pytest.raises(ValueError, match=r"must return tokens \[3, 2\]"):
        collect(envs, Blind(), 3, seed=0)
