from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import TOY15, as_rollout, play, transformed


def padded(response: tuple[int, ...], length: int, filler: int = 0) -> list[int]:
    return [*response, *[filler] * (length - len(response))]


def test_one_step_is_paid_what_the_tokens_are_paid(toy15: Task) -> None:
    tokens, bandit = RLHFEnv(toy15), wrappers.SequenceBandit(RLHFEnv(toy15))
    for response, score in TOY15.items():
        steps = play(tokens, response)
        ((_, reward, terminated, truncated, info),) = play(bandit, [padded(response, 3)])
        assert (terminated, truncated) == (True, False)
        assert reward == pytest.approx(sum(step[1] for step in steps), abs=1e-9)
        assert info["reward_terms"]["score"] == score
        kl = sum(step[4]["reward_terms"]["kl"] for step in steps)
        assert info["reward_terms"]["kl"] == pytest.approx(kl, abs=1e-9)
        ref_logprob = sum(step[4]["ref_logprob"] for step in steps)
        assert info["ref_logprob"] == pytest.approx(ref_logprob, abs=1e-9)
        last = steps[-1][4]
        for key in ("score", "finish_reason", "response_length", "prompt_index"):
            assert info[key] == last[key]


def test_the_best_response_of_toy15(toy15: Task) -> None:
    ((_, reward, _, _, info),) = play(wrappers.SequenceBandit(RLHFEnv(toy15)), [[1, 1, 1]])
    # pi_ref(1,1,1) from the table; reward = 3 + 0.5 log pi_ref.
    assert reward == pytest.approx(3.0 + 0.5 * info["ref_logprob"], abs=1e-6)


def test_tokens_after_the_end_are_ignored(toy15: Task) -> None:
    env = wrappers.SequenceBandit(RLHFEnv(toy15))
    (clean,) = play(env, [[1, 0, 0]])
    (dirty,) = play(env, [np.array([1, 0, -100])])
    assert clean[1] == dirty[1]
    np.testing.assert_array_equal(clean[0]["input_ids"], dirty[0]["input_ids"])


def test_the_space_is_one_token_per_position(toy15: Task) -> None:
    env = wrappers.SequenceBandit(RLHFEnv(toy15))
    assert env.action_space == gym.spaces.MultiDiscrete([3, 3, 3])
    vector = wrappers.vector.SequenceBandit(RLHFVectorEnv(2, toy15))
    assert vector.single_action_space == env.action_space
    assert vector.action_space.shape == (2, 3)
    carried = wrappers.SequenceBandit(RLHFEnv(toy15, kl_penalty="sampled")).action_space
    assert carried["tokens"] == gym.spaces.MultiDiscrete([3, 3, 3])
    assert carried["logprobs"].shape == (3,)


def test_logprobs_are_paid_for_used_tokens_only(toy15: Task) -> None:
    env = wrappers.SequenceBandit(RLHFEnv(toy15, kl_penalty="sampled"))
    action = {"tokens": np.array([1, 0, 0]), "logprobs": np.array([-1.0, -2.0, np.nan])}
    ((*_, info),) = play(env, [action])
    # kl = log pi - log pi_ref, summed: -3 - log pi_ref; the reward has -0.5 of it.
    assert info["reward_terms"]["kl"] == pytest.approx(1.5 + 0.5 * info["ref_logprob"], abs=1e-6)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ([1, 1], r"3 entries for each of 1 rows.*got shape \[1, 2\]"),
        ([[1, 1, 1]], r"got shape \[1, 1, 3\]"),
        ([1.0, 1.0, 1.0], "integer token ids, got float64"),
        ([True, True, True], "integer token ids, got bool"),
        ([1, 3, 1], r"\[0, 2\], got 3 at position 1 of row 0"),
        ([-1, 0, 1], "got -1 at position 0"),
        ("abc", "got shape"),
        (None, "got shape"),
        ([1, [2, 2], 0], r"must be an array of numbers, got \[1, \[2, 2\], 0\]"),
    ],
)
def test_a_bad_action_is_refused_and_changes_nothing(
    toy15: Task, action: object, said: str
) -> None:
    env = wrappers.SequenceBandit(RLHFEnv(toy15))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        env.step(action)
    assert int(env.unwrapped.mdp.response_lengths[0]) == 0  # type: ignore[attr-defined]
    assert env.step(torch.tensor([1, 1, 1]))[4]["score"] == 3.0


def test_a_second_step_needs_a_reset(toy15: Task) -> None:
    env = wrappers.SequenceBandit(RLHFEnv(toy15))
    env.reset(seed=0)
    env.step([1, 1, 1])
    with pytest.raises(gym.error.ResetNeeded):
        env.step([1, 1, 1])


@pytest.mark.parametrize("package", [wrappers, wrappers.vector])
def test_a_bandit_cannot_bootstrap(toy15: Task, package: object) -> None:
    made = {wrappers: RLHFEnv, wrappers.vector: lambda task, **o: RLHFVectorEnv(2, task, **o)}
    with pytest.raises(ValueError, match=r'length_limit="bootstrap"; use "score" or "penalize"'):
        package.SequenceBandit(made[package](toy15, length_limit="bootstrap"))


def test_a_rollout_is_one_decision(toy15: Task) -> None:
    env = wrappers.SequenceBandit(RLHFEnv(toy15))
    rollout = transformed(env, as_rollout(toy15, [(0, [1, 0]), (0, [1, 2, 1])]))
    assert rollout.decision.tolist() == [[-1, 0, 0, -1], [-1, 0, 0, 0]]
    plain = RLHFEnv(toy15).evaluate(as_rollout(toy15, [(0, [1, 0]), (0, [1, 2, 1])]))
    assert torch.equal(rollout.rewards, plain.rewards)


def test_a_density_does_not_change_what_the_bandit_is_paid() -> None:
    task = tiny_llama_task(vocab_size=8, horizon=6)
    action = padded((5, 2, 5, EOS), 6)
    (plain,) = play(wrappers.SequenceBandit(RLHFEnv(task)), [action])
    (dense,) = play(wrappers.SequenceBandit(wrappers.EveryK(RLHFEnv(task), k=2)), [action])
    assert dense[1] == pytest.approx(plain[1], abs=1e-6)
