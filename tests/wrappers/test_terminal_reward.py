from __future__ import annotations

import pytest

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.wrappers.episodes import TOY15, paid


def test_the_score_is_paid_at_the_end(toy15: Task) -> None:
    env = wrappers.TerminalReward(RLHFEnv(toy15))
    for response, score in TOY15.items():
        assert paid(env, response) == [0.0] * (len(response) - 1) + [score]


def test_it_cannot_undo_a_density(toy15: Task) -> None:
    env = wrappers.PrefixDifference(RLHFEnv(toy15))
    with pytest.raises(ValueError, match="PrefixDifference inside it already does"):
        wrappers.TerminalReward(env)
