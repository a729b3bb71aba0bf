"""Shaping by another discount than the agent's moves the optimum, and is said."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from agents import GRPO, PPO
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from wrappers import vector


@pytest.mark.parametrize("gamma", [0.5, {"score": 1.0, "kl": 1.0, "shaping": 0.5}])
def test_another_discount_than_the_shaping_s_is_said(toy15: Task, gamma: Any) -> None:
    envs = vector.MacroAction(vector.PotentialShaping(make_envs(toy15), gamma=1.0), n=2)
    text = r"PotentialShaping discounts by gamma = 1 per .* by 0.5 per .* which policy is optimal"
    with pytest.warns(UserWarning, match=text) as caught:
        PPO(envs, gamma=gamma)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("gamma", [0.9, {"score": 1.0, "kl": 1.0, "shaping": 0.9}])
def test_the_same_discount_is_silent(toy15: Task, gamma: Any) -> None:
    envs = vector.PotentialShaping(make_envs(toy15), gamma=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PPO(envs, gamma=gamma)
        GRPO(envs, gamma=0.9)
