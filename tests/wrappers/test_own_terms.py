"""A term or a density of one's own that answers with what cannot be paid is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.wrappers.episodes import as_rollout, paid, transformed
from wrappers.reward_terms import Density, DensityWrapper, RewardTermWrapper, token_term

NAN = float("nan")


@pytest.mark.parametrize("name", ["kl", "score", "", 3])
def test_a_term_needs_a_name_of_its_own(name: Any) -> None:
    with pytest.raises(ValueError, match="name must be that of a new reward term, got"):
        token_term(name, lambda prompt, response: response.double())


def test_a_term_is_a_function() -> None:
    with pytest.raises(TypeError, match=r"f\(prompt, response\) -> \[T\], got float"):
        token_term("mine", 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda ids: ids[:-1].double(), r"\[1.0\] of shape \[1\]"),
        (lambda ids: ids.double()[None], r"of shape \[1, 2\]"),
        (lambda ids: ids * NAN, r"\[nan, nan\] of shape"),
        (lambda ids: ids / 0.0, r"\[inf, inf\] of shape"),
        (lambda ids: None, "NoneType"),
        (lambda ids: ["a", "b"], "list"),
        (lambda ids: 0.5, r"\[0.5\] of shape \[\]"),
    ],
)
def test_a_term_is_a_finite_number_for_each_token(toy15: Task, answer: Any, got: str) -> None:
    term = token_term("mine", lambda prompt, response: answer(response))
    env = RewardTermWrapper(RLHFEnv(toy15), term)
    with pytest.raises(ValueError, match=rf"'mine' must be 2 finite numbers .* got .*{got}"):
        transformed(env, as_rollout(toy15, [(0, [1, 2])]))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="'mine' must be 1 finite numbers for 1 tokens, got"):
        env.step(1)


@pytest.mark.parametrize("kind", [list, torch.Tensor.numpy, torch.Tensor.bool])
def test_a_term_may_be_any_kind_of_numbers(toy15: Task, kind: Any) -> None:
    env = RewardTermWrapper(RLHFEnv(toy15), token_term("mine", lambda prompt, ids: kind(ids == 1)))
    assert paid(env, (1, 2, 1), "mine") == [1.0, 0.0, 1.0]
    rollout = transformed(env, as_rollout(toy15, [(0, [1, 2, 1])]))
    assert rollout.reward_terms["mine"].tolist() == [[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "mine"}, r"one of \['score', 'shaping'\], got 'mine'"),
        ({"every": 0}, "every must be an integer >= 1, got 0"),
        ({"gamma": 2.0}, r"gamma must be a number in \[0, 1\], got 2.0"),
    ],
)
def test_settings_of_a_density(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Density(**{"name": "score", "rewards": lambda scored: scored.phi[:, 1:], **settings})


@pytest.mark.parametrize(
    ("rewards", "got"),
    [
        (lambda scored: scored.phi, r"\[1, 1\] of finite numbers, got shape \[1, 2\]"),
        (lambda scored: scored.phi[0, 1:], r"got shape \[1\]"),
        (lambda scored: scored.phi[:, 1:] * NAN, "got nan"),
        (lambda scored: None, "got NoneType"),
    ],
)
def test_a_density_pays_finite_numbers_for_each_step(toy15: Task, rewards: Any, got: str) -> None:
    env = DensityWrapper(RLHFEnv(toy15), Density(name="score", rewards=rewards))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"rewards of a density must be a tensor .*{got}"):
        env.step(1)
