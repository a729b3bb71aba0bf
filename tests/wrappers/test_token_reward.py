from __future__ import annotations

import pytest
import torch
from torch import Tensor

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.wrappers.episodes import as_rollout, paid, transformed


def test_the_newest_token_is_paid_what_the_function_says(toy15: Task) -> None:
    asked = []

    def newest(prompt: Tensor, response: Tensor) -> float:
        asked.append((prompt.tolist(), response.tolist()))
        return 0.5 * len(response)

    env = wrappers.TokenReward(RLHFEnv(toy15), newest, name="worth")
    assert paid(env, (1, 2, 0), "worth") == [0.5, 1.0, 1.5]
    assert asked == [([0], [1]), ([0], [1, 2]), ([0], [1, 2, 0])]


def test_an_answer_for_all_tokens_needs_one_call_per_episode(toy15: Task) -> None:
    asked = []

    def every(prompt: Tensor, response: Tensor) -> Tensor:
        asked.append(response.tolist())
        return response.float()

    env = wrappers.TokenReward(RLHFEnv(toy15), every)
    rollout = transformed(env, as_rollout(toy15, [(0, [1, 2, 0]), (0, [2, 0])]))
    assert rollout.reward_terms["token"].tolist() == [[0, 1, 2, 0], [0, 2, 0, 0]]
    assert asked == [[1, 2, 0], [2, 0]]


def test_a_function_that_writes_into_its_arguments_harms_nobody(toy15: Task) -> None:
    env = wrappers.TokenReward(RLHFEnv(toy15), lambda prompt, response: float(response.zero_()[0]))
    paid(env, (1, 2), "token")
    assert env.unwrapped.mdp.response(0).tolist() == [1, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "answer", [float("nan"), torch.zeros(3), torch.zeros(1, 1), torch.tensor([float("inf")])]
)
def test_a_wrong_answer_is_refused(toy15: Task, answer: object) -> None:
    env = wrappers.TokenReward(RLHFEnv(toy15), lambda prompt, response: answer)  # type: ignore[arg-type,return-value]
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite number or 1 of them for a response of 1 tokens"):
        env.step(1)


@pytest.mark.parametrize("name", ["score", "kl", "", None])
def test_the_term_needs_a_name_of_its_own(toy15: Task, name: object) -> None:
    with pytest.raises(ValueError, match="name must be that of a new reward term"):
        wrappers.TokenReward(RLHFEnv(toy15), lambda p, r: 0.0, name)  # type: ignore[arg-type]
    env = wrappers.TokenReward(RLHFEnv(toy15), lambda p, r: 0.0, "mine")
    with pytest.raises(ValueError, match="sets the reward term 'mine', but TokenReward inside"):
        wrappers.TokenReward(env, lambda p, r: 0.0, "mine")


def test_a_function_is_needed(toy15: Task) -> None:
    with pytest.raises(TypeError, match=r"function must be f\(prompt, response\) .* got float"):
        wrappers.TokenReward(RLHFEnv(toy15), 0.5)  # type: ignore[arg-type]
