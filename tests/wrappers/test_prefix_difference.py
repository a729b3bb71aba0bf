from __future__ import annotations

import pytest

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.wrappers.episodes import TOY15, paid


def test_each_token_of_toy15_is_paid_its_own_worth(toy15: Task) -> None:
    worth = {0: 0.25, 1: 1.0, 2: -0.5}
    env = wrappers.PrefixDifference(RLHFEnv(toy15))
    for response, score in TOY15.items():
        pieces = paid(env, response)
        assert pieces == pytest.approx([worth[token] for token in response], abs=1e-9)
        assert sum(pieces) == pytest.approx(score, abs=1e-9)
