from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import TOY15, as_rollout, play, transformed
from tests.wrappers.stacks import after_token_two

TASK = tiny_llama_task(vocab_size=8, horizon=6)


def test_macro_one_is_the_token_mdp(toy15: Task) -> None:
    tokens, macro = RLHFEnv(toy15), wrappers.MacroAction(RLHFEnv(toy15), n=1)
    for response in TOY15:
        expected = play(tokens, response)
        got = play(macro, [[token] for token in response])
        assert [step[1:] for step in got] == [step[1:] for step in expected]


def test_macro_horizon_is_the_bandit(toy15: Task) -> None:
    macro = wrappers.MacroAction(RLHFEnv(toy15), n=3)
    bandit = wrappers.SequenceBandit(RLHFEnv(toy15))
    assert macro.action_space == bandit.action_space
    for response in TOY15:
        action = [*response, 0, 0][:3]
        (expected,), (got,) = play(bandit, [action]), play(macro, [action])
        assert got[1:] == expected[1:]


def test_a_macro_action_is_paid_what_its_tokens_are_paid() -> None:
    response = [5, 2, 5, 5, EOS]
    tokens = play(RLHFEnv(TASK), response)
    macros = play(wrappers.MacroAction(RLHFEnv(TASK), n=2), [[5, 2], [5, 5], [EOS, 7]])
    for (_, reward, terminated, truncated, info), part in zip(
        macros, (tokens[:2], tokens[2:4], tokens[4:]), strict=True
    ):
        assert reward == pytest.approx(sum(step[1] for step in part), abs=1e-9)
        assert (terminated, truncated) == part[-1][2:4]
        ref_logprob = sum(step[4]["ref_logprob"] for step in part)
        assert info["ref_logprob"] == pytest.approx(ref_logprob, abs=1e-9)
    assert macros[-1][4]["response_length"] == 5.0


def test_tokens_beyond_the_limit_are_ignored() -> None:
    env = wrappers.MacroAction(RLHFEnv(TASK), n=4)
    steps = play(env, [[2, 2, 2, 2], [2, 2, 99, -1]])
    assert steps[-1][4]["finish_reason"] == "length"
    assert steps[-1][4]["response_length"] == 6.0


def test_a_macro_action_can_be_truncated() -> None:
    env = wrappers.MacroAction(RLHFEnv(TASK, length_limit="bootstrap"), n=4)
    assert [step[2:4] for step in play(env, [[2] * 4, [2] * 4])] == [(False, False), (False, True)]


def test_a_boundary_ends_the_action_after_its_token() -> None:
    env = wrappers.MacroAction(RLHFEnv(TASK), boundary=after_token_two)
    assert env.action_space == gym.spaces.MultiDiscrete([8] * 6)
    env.reset(seed=0, options={"prompt_index": 0})
    *_, info = env.step([5, 2, 7, 7, 7, 7])
    mdp = env.unwrapped.mdp  # type: ignore[attr-defined]
    assert mdp.response(0).tolist() == [5, 2]
    assert "score" not in info
    *_, info = env.step([3, EOS, 0, 0, 0, 0])
    assert mdp.response(0).tolist() == [5, 2, 3, EOS]
    assert info["response_length"] == 4.0


def test_a_boundary_is_asked_with_the_response_so_far(toy15: Task) -> None:
    asked = []

    def boundary(prefix_ids: torch.Tensor, task: Task) -> bool:
        asked.append(prefix_ids.tolist())
        assert task is toy15
        return len(prefix_ids) == 2

    play(wrappers.MacroAction(RLHFEnv(toy15), boundary=boundary), [[1, 2, 1], [1, 0, 0]])
    assert asked == [[1], [1, 2]]


def test_rows_of_a_vector_reach_their_boundaries_apart() -> None:
    envs = wrappers.vector.MacroAction(RLHFVectorEnv(3, TASK), boundary=after_token_two)
    envs.reset(seed=0)
    envs.step(np.array([[2, 5, 5, 5, 5, 5], [5, 5, 2, 5, 5, 5], [5, EOS, 2, 2, 2, 2]]))
    mdp = envs.unwrapped.mdp
    assert [mdp.response(row).tolist() for row in range(3)] == [[2], [5, 5, 2], [5, EOS]]


@pytest.mark.parametrize(
    ("options", "decision"),
    [
        ({"n": 1}, [[-1, 0, 1, 2, 3, 4], [-1, 0, 1, -1, -1, -1]]),
        ({"n": 2}, [[-1, 0, 0, 1, 1, 2], [-1, 0, 0, -1, -1, -1]]),
        ({"n": 6}, [[-1, 0, 0, 0, 0, 0], [-1, 0, 0, -1, -1, -1]]),
        ({"boundary": after_token_two}, [[-1, 0, 0, 1, 2, 2], [-1, 0, 1, -1, -1, -1]]),
    ],
)
def test_a_rollout_names_the_decision_of_each_token(options: dict, decision: list) -> None:
    rollout = as_rollout(TASK, [(0, [5, 2, 2, 5, EOS]), (0, [2, EOS])])
    got = transformed(wrappers.MacroAction(RLHFEnv(TASK), **options), rollout)
    assert got.decision.tolist() == decision
    assert torch.equal(got.rewards, RLHFEnv(TASK).evaluate(rollout).rewards)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "exactly one of them, got n=None and boundary=None"),
        ({"n": 2, "boundary": after_token_two}, "exactly one of them, got n=2"),
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"n": 1.5}, "n must be an integer >= 1, got 1.5"),
        ({"boundary": 3}, "boundary must be a function .*, got 3"),
        ({"boundary": lambda ids: True}, r"boundary must take \(prefix_ids, task\), got .*\(ids\)"),
    ],
)
def test_n_or_boundary_is_needed(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrappers.MacroAction(RLHFEnv(TASK), **options)
    with pytest.raises(ValueError, match=said):
        wrappers.vector.MacroAction(RLHFVectorEnv(2, TASK), **options)


@pytest.mark.parametrize("answer", ["no", None, [True], np.array([True, False])])
def test_a_boundary_answers_with_a_bool(answer: Any) -> None:
    said = "boundary must return True or False for each response, got "
    env = wrappers.MacroAction(RLHFEnv(TASK), boundary=lambda prefix_ids, task: answer)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        env.step([2] * 6)
    with pytest.raises(ValueError, match=said):
        env.rollout(as_rollout(TASK, [(0, [2, 3, EOS])]))


@pytest.mark.parametrize(
    "answer", [True, 1, 0.5, np.True_, np.array([1]), torch.tensor(True), torch.tensor([2])]
)
def test_numbers_and_arrays_of_one_are_bools(answer: Any) -> None:
    env = wrappers.MacroAction(RLHFEnv(TASK), boundary=lambda prefix_ids, task: answer)
    rollout = env.rollout(as_rollout(TASK, [(0, [2, 3, EOS])]))
    assert rollout.decision[rollout.is_action].tolist() == [0, 1, 2]


def test_a_boundary_of_states_answers_with_bools() -> None:
    class Talkative:
        def ends_now(self, mdp: TokenMDP, rows: Sequence[int]) -> Any:
            return ["no"] * len(rows)

        def ends(self, rollout: Rollout, mdp: TokenMDP) -> torch.Tensor:
            return rollout.is_action

    env = wrappers.MacroAction(RLHFEnv(TASK), boundary=Talkative())
    env.reset(seed=0)
    with pytest.raises(ValueError, match="must return True or False for each response, got 'no'"):
        env.step([2] * 6)
