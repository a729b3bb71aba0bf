"""Unmodified agents of Stable-Baselines3 on the vector environment."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import wrappers
import wrappers.stable_baselines3
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import tiny_llama_task
from wrappers.stable_baselines3 import VecEnv

TASK = tiny_llama_task(vocab_size=8, horizon=4)


def assert_same(got: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert set(got) == set(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    else:
        np.testing.assert_allclose(got, expected, atol=1e-5) if not isinstance(
            expected, str
        ) else np.testing.assert_equal(got, expected)


@pytest.mark.parametrize("limit", ["score", "bootstrap"])
@pytest.mark.parametrize("is_hidden", [True, False])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_it_does_what_single_environments_do(
    mode: AutoresetMode, is_hidden: bool, limit: str
) -> None:
    def stack(w: Any, env: Any) -> Any:
        env = w.TopKActions(w.EveryK(env, k=2), k=3, always_eos=True)
        return w.HiddenState(env) if is_hidden else env

    vector = VecEnv(
        stack(wrappers.vector, RLHFVectorEnv(3, TASK, autoreset_mode=mode, length_limit=limit))
    )
    singles = DummyVecEnv([lambda: stack(wrappers, RLHFEnv(TASK, length_limit=limit))] * 3)
    for envs in (vector, singles):
        envs.seed(5)
    assert_same(vector.reset(), singles.reset())
    generator, ended = np.random.default_rng(0), 0
    for _ in range(12):
        actions = generator.integers(0, 3, size=3)
        got, expected = vector.step(actions), singles.step(actions)
        assert_same(got[0], expected[0])
        np.testing.assert_allclose(got[1], expected[1], atol=1e-5)
        assert got[1].dtype == np.float32
        np.testing.assert_array_equal(got[2], expected[2])
        for row, other in zip(got[3], expected[3], strict=True):
            assert_same(row, other)
        assert vector.reset_infos == singles.reset_infos
        ended += int(expected[2].sum())
    assert ended >= 6


def toy15_envs(task: Task, num_envs: int) -> VecEnv:
    envs = RLHFVectorEnv(num_envs, task, kl_coef=0.1)
    return VecEnv(wrappers.vector.HiddenState(wrappers.vector.TopKActions(envs, k=3)))


def mean_score(model: BaseAlgorithm, task: Task) -> float:
    envs, scores = toy15_envs(task, 16), []
    envs.seed(7)
    observations = envs.reset()
    while len(scores) < 64:
        actions, _ = model.predict(observations, deterministic=False)  # type: ignore[arg-type]
        observations, _, dones, infos = envs.step(actions)
        scores += [info["score"] for info, done in zip(infos, dones, strict=True) if done]
    return float(np.mean(scores))


def test_ppo_learns(toy15: Task) -> None:
    model = PPO(
        "MlpPolicy",
        toy15_envs(toy15, 16),
        n_steps=16,
        batch_size=128,
        n_epochs=4,
        learning_rate=5e-3,
        gamma=1.0,
        ent_coef=0.1,
        seed=0,
        device="cpu",
    )
    before = mean_score(model, toy15)
    model.learn(3000)
    assert before < 1.0
    # The best response is worth 3; the KL penalty of 0.1 costs little of it.
    assert mean_score(model, toy15) > 2.0


def test_dqn_learns(toy15: Task) -> None:
    model = DQN(
        "MlpPolicy",
        toy15_envs(toy15, 8),
        learning_starts=100,
        train_freq=1,
        target_update_interval=50,
        learning_rate=5e-3,
        gamma=1.0,
        exploration_fraction=0.7,
        buffer_size=3000,
        seed=0,
        device="cpu",
    )
    model.learn(2000)
    assert mean_score(model, toy15) > 2.0


def test_tensors_become_arrays() -> None:
    envs = VecEnv(RLHFVectorEnv(2, TASK, tensors="torch"))
    assert isinstance(envs.reset()["input_ids"], np.ndarray)
    assert all(isinstance(part, np.ndarray) for part in envs.step(np.array([1, 5]))[1:3])


def test_options_choose_the_prompts_of_the_next_reset() -> None:
    envs = VecEnv(RLHFVectorEnv(2, TASK))
    envs.set_options([{"prompt_index": 2}, {"prompt_index": 1}])
    envs.reset()
    assert [info["prompt_index"] for info in envs.reset_infos] == [2.0, 1.0]
    envs.set_options([{"prompt_index": 2}, {}])
    with pytest.raises(ValueError, match="options must be the same for every row"):
        envs.reset()


def test_it_answers_what_stable_baselines_asks() -> None:
    envs = VecEnv(wrappers.vector.EveryK(RLHFVectorEnv(3, TASK), k=2))
    assert envs.get_attr("kl_coef", [0, 2]) == [0.1, 0.1]
    envs.set_attr("kl_coef", 0.2)
    assert envs.envs.unwrapped.kl_coef == 0.2  # type: ignore[attr-defined]
    assert envs.env_is_wrapped(wrappers.vector.EveryK) == [True] * 3
    assert envs.env_is_wrapped(wrappers.vector.HiddenState, [1]) == [False]
    assert not envs.has_attr("nothing")
    VecMonitor(envs).reset()
    envs.close()


def test_each_row_gets_its_own_mask() -> None:
    envs = VecEnv(wrappers.vector.ActionMasks(RLHFVectorEnv(3, TASK), top_k=2))
    envs.reset()
    masks = np.stack(envs.env_method("action_masks"))
    assert masks.shape == (3, 8)
    assert masks.sum(axis=1).tolist() == [2, 2, 2]
    expected = envs.envs.action_masks()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(envs.env_method("action_masks", indices=[2, 0]), expected[[2, 0]])
    singles = DummyVecEnv([lambda: wrappers.ActionMasks(RLHFEnv(TASK), top_k=2)] * 3)
    singles.reset()
    assert np.stack(singles.env_method("action_masks")).shape == (3, 8)


def test_any_other_answer_is_the_same_for_every_row() -> None:
    envs = VecEnv(RLHFVectorEnv(3, TASK))
    envs.reset()
    assert envs.env_method("__repr__", indices=[0, 2]) == [repr(envs.envs)] * 2
    assert envs.env_method("render") == [None] * 3


def test_the_example_runs() -> None:
    failed, attempted = doctest.testmod(wrappers.stable_baselines3)
    assert (failed, attempted > 3) == (0, True)


def test_other_environments_are_refused() -> None:
    import gymnasium as gym

    with pytest.raises(TypeError, match="VecEnv wraps an RLHF-v0 environment"):
        VecEnv(gym.make_vec("CartPole-v1", num_envs=2))
