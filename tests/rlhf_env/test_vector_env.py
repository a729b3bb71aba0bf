"""N rows behind one cache do what N environments of their own do."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_gpt2_task, tiny_llama_task

MODES = list(AutoresetMode)


def make(num_envs: int, task: str | Task = "toy15", **options: Any) -> Any:
    return gym.make_vec("RLHF-v0", num_envs=num_envs, task=task, **options)


def singles(num_envs: int, task: str | Task, mode: AutoresetMode, **options: Any) -> SyncVectorEnv:
    """Gymnasium's own vector environment of single ones."""
    makers = [lambda: gym.make("RLHF-v0", task=task, **options)] * num_envs
    return SyncVectorEnv(makers, autoreset_mode=mode)


def same(ours: Any, theirs: Any, where: str = "info") -> None:
    """Assert that two nested values are equal, numbers within 1e-5."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            same(ours[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(theirs, np.ndarray) and theirs.dtype != object:
        assert ours.dtype == theirs.dtype, where
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=where)
    elif isinstance(theirs, np.ndarray | tuple):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{index}]")
    else:
        assert ours == theirs, where


def random_actions(rng: np.random.Generator, num_envs: int, is_sampled: bool) -> Any:
    tokens = np.where(rng.random(num_envs) < 0.2, EOS, rng.integers(0, 32, num_envs))
    if not is_sampled:
        return tokens
    return {"token": tokens, "logprob": -rng.random(num_envs).astype(np.float32)}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("num_envs", [1, 2, 7, 64])
def test_rows_are_single_environments(num_envs: int, mode: AutoresetMode) -> None:
    """Observations, rewards, flags and infos, step by step."""
    task, rng = tiny_llama_task(horizon=6), np.random.default_rng(num_envs)
    steps = 24 if num_envs < 64 else 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours, theirs = make(num_envs, task, autoreset_mode=mode), singles(num_envs, task, mode)
        same(ours.reset(seed=3), theirs.reset(seed=3))
        for _ in range(steps):
            actions = random_actions(rng, num_envs, is_sampled=False)
            mine, its = ours.step(actions), theirs.step(actions)
            same(mine, its)
            ended = mine[2] | mine[3]
            if mode == AutoresetMode.DISABLED and ended.any():
                same(
                    ours.reset(options={"reset_mask": ended.copy()}),
                    theirs.reset(options={"reset_mask": ended.copy()}),
                )


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("length_limit", ["penalize", "bootstrap"])
def test_rows_are_single_environments_under_options(length_limit: str, mode: AutoresetMode) -> None:
    task, rng = tiny_gpt2_task(horizon=3), np.random.default_rng(0)
    options = {"kl_penalty": "sampled", "length_limit": length_limit, "kl_coef": 0.7}
    ours, theirs = make(4, task, autoreset_mode=mode, **options), singles(4, task, mode, **options)
    same(ours.reset(seed=[5, 6, 7, 5]), theirs.reset(seed=[5, 6, 7, 5]))
    for _ in range(12):
        actions = random_actions(rng, 4, is_sampled=True)
        # Gymnasium hands every environment its own action out of a Dict space.
        mine, its = ours.step(actions), theirs.step(actions)
        same(mine, its)
        ended = mine[2] | mine[3]
        if mode == AutoresetMode.DISABLED and ended.any():
            same(
                ours.reset(options={"reset_mask": ended.copy()}),
                theirs.reset(options={"reset_mask": ended.copy()}),
            )


class TestAutoreset:
    """Toy15's rows end after one, two and three tokens."""

    def test_mode_is_declared(self) -> None:
        for mode in MODES:
            for given in (mode, mode.value):
                envs = make(2, autoreset_mode=given)
                assert envs.metadata["autoreset_mode"] == mode
        assert make(2).metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        with pytest.raises(ValueError, match=r"autoreset_mode must be one of .* got 'Never'"):
            make(2, autoreset_mode="Never")

    def test_next_step_pays_nothing_and_ignores_the_action(self) -> None:
        envs = make(2)
        envs.reset(seed=0)
        _, _, terminated, _, _ = envs.step([0, 1])
        assert terminated.tolist() == [True, False]
        observation, rewards, terminated, truncated, info = envs.step([99, 1])
        assert rewards[0] == 0.0
        assert (terminated[0], truncated[0]) == (False, False)
        assert observation["attention_mask"][0].tolist() == [1, 0, 0, 0]
        assert info["_prompt_index"].tolist() == [True, False]
        assert info["_ref_logprob"].tolist() == [False, True]
        assert rewards[1] == pytest.approx(0.5 * -0.595555, abs=1e-6)

    def test_same_step_keeps_the_end(self) -> None:
        """Trap C8."""
        envs = make(2, autoreset_mode="SameStep")
        envs.reset(seed=0)
        envs.step([1, 1])
        observation, rewards, terminated, _, info = envs.step([0, 1])
        assert terminated.tolist() == [True, False]
        assert rewards[0] == pytest.approx(1.25 + 0.5 * -1.065795, abs=1e-6)
        assert observation["input_ids"][0].tolist() == [0, 0, 0, 0]
        assert observation["attention_mask"][0].tolist() == [1, 0, 0, 0]
        assert info["_final_obs"].tolist() == [True, False]
        assert info["final_obs"][0]["input_ids"].tolist() == [0, 1, 0, 0]
        assert info["final_obs"][0]["attention_mask"].tolist() == [1, 1, 1, 0]
        assert info["final_obs"][1] is None
        assert info["final_info"]["score"].tolist() == [1.25, 0.0]
        assert info["final_info"]["finish_reason"].tolist() == ["eos", None]
        assert info["_final_info"].tolist() == [True, False]
        assert info["_ref_logprob"].tolist() == [False, True]

    def test_disabled_wants_a_partial_reset(self) -> None:
        envs = make(2, autoreset_mode="Disabled")
        envs.reset(seed=0)
        envs.step([0, 1])
        with pytest.raises(ResetNeeded, match="row 0"):
            envs.step([1, 1])
        observation, info = envs.reset(options={"reset_mask": np.array([True, False])})
        assert observation["input_ids"].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]
        assert observation["attention_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
        assert info["_prompt_index"].tolist() == [True, False]
        _, rewards, _, _, _ = envs.step([1, 0])
        assert rewards == pytest.approx([0.5 * -2.218489, 1.25 + 0.5 * -1.065795], abs=1e-6)

    def test_step_before_reset(self) -> None:
        for mode in MODES:
            with pytest.raises(ResetNeeded, match="reset"):
                make(2, autoreset_mode=mode).step([0, 0])

    def test_a_partial_reset_does_not_open_the_others(self) -> None:
        envs = make(2)
        envs.reset(options={"reset_mask": [True, False]})
        with pytest.raises(ResetNeeded, match="row 1"):
            envs.step([0, 0])


class TestTensors:
    def test_torch_says_what_numpy_says(self) -> None:
        for mode in MODES[:2]:
            arrays = make(4, tiny_llama_task(horizon=3), autoreset_mode=mode)
            tensors = make(4, tiny_llama_task(horizon=3), autoreset_mode=mode, tensors="torch")
            assert isinstance(tensors.reset(seed=0)[0]["input_ids"], torch.Tensor)
            arrays.reset(seed=0)
            rng = np.random.default_rng(0)
            for _ in range(8):
                actions = random_actions(rng, 4, is_sampled=False)
                told = tensors.step(torch.as_tensor(actions))
                assert all(isinstance(value, torch.Tensor) for value in told[1:4])
                same(as_numpy(told), as_numpy(arrays.step(actions)))

    def test_they_are_fresh_memory(self) -> None:
        envs = make(2, tiny_llama_task(), tensors="torch")
        first = envs.reset(seed=0)[0]
        before = first["input_ids"].clone()
        second = envs.step(torch.tensor([4, 5]))[0]
        assert torch.equal(first["input_ids"], before)
        second["input_ids"].zero_()
        assert envs.step(torch.tensor([4, 5]))[0]["input_ids"].count_nonzero() > 0

    def test_other_kinds(self) -> None:
        with pytest.raises(ValueError, match=r"tensors must be one of \['numpy', 'torch'\]"):
            make(2, tensors="jax")


def as_numpy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_numpy(item) for key, item in value.items()}
    if isinstance(value, tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return tuple(map(as_numpy, value))
    return value.numpy() if isinstance(value, torch.Tensor) else value


def test_all_memory_is_fresh() -> None:
    envs = make(2, autoreset_mode="SameStep")
    told = [envs.reset(seed=0)]
    told += [(step[0], step[1], step[2], step[3], step[4]) for step in map(envs.step, [[1, 0]] * 4)]
    arrays = [list(leaves(each)) for each in told]
    for one, other in itertools.combinations(arrays, 2):
        assert not any(np.shares_memory(a, b) for a in one for b in other)


def leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if isinstance(value, np.ndarray) else []


@pytest.mark.parametrize("episodes", [1, 7])
def test_a_slot_forgets_its_earlier_episodes(episodes: int) -> None:
    """Trap A11, to the last bit."""
    actions = [[3, 4, 5, 6], [7, 8, 9, 9], [2, 2, 2, 2]]

    def logprobs(envs: Any) -> list[Any]:
        envs.reset(seed=11)
        return [envs.step(step)[4]["ref_logprob"].tolist() for step in actions]

    fresh, used = (make(4, tiny_llama_task(), autoreset_mode="Disabled") for _ in range(2))
    used.reset(seed=0)
    rng = np.random.default_rng(0)
    only_two = np.array([False, False, True, False])
    for _ in range(episodes):
        for _ in range(int(rng.integers(2, 5))):
            used.step(rng.integers(2, 32, 4))
        used.reset(options={"reset_mask": only_two, "prompt_index": int(rng.integers(3))})
        for row in (0, 1, 3):
            used.reset(options={"reset_mask": np.arange(4) == row})
    assert logprobs(used) == logprobs(fresh)


def test_a_partial_reset_leaves_the_other_rows_alone() -> None:
    envs, twin = (make(3, tiny_llama_task(), autoreset_mode="Disabled") for _ in range(2))
    for each in (envs, twin):
        each.reset(seed=0)
        each.step([4, 5, 6])
    envs.reset(options={"reset_mask": [False, True, False], "prompt_index": 0})
    mine, its = envs.step([7, 7, 7])[4]["ref_logprob"], twin.step([7, 7, 7])[4]["ref_logprob"]
    assert mine[[0, 2]] == pytest.approx(its[[0, 2]], abs=1e-6)


def test_the_prompts_that_info_names_can_be_asked_for_again() -> None:
    envs = make(3, tiny_llama_task())
    first, info = envs.reset(seed=0)
    again, named = envs.reset(options={"prompt_index": info["prompt_index"]})
    assert named["prompt_index"].tolist() == info["prompt_index"].tolist()
    assert again["input_ids"].tolist() == first["input_ids"].tolist()


@pytest.mark.parametrize("clone_modules", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_in_mid_episode_go_on_alike(clone_modules: Any) -> None:
    envs = make(3, tiny_llama_task(horizon=4))
    envs.reset(seed=0)
    envs.step([3, EOS, 5])
    twin = clone_modules(envs)
    for actions in ([4, 4, 4], [EOS, 5, 6], [7, 7, 7]):
        same(as_numpy(envs.step(actions)), as_numpy(twin.step(actions)))


def test_render_and_close() -> None:
    envs = make(2, tiny_llama_task(), render_mode="ansi")
    envs.reset(options={"prompt": ["w9", "w8"]})
    envs.step([4, 5])
    first, second = envs.render()
    assert "w9" in first and "w4" in first
    assert "w8" in second and "w5" in second
    assert make(1).render() is None
    envs.close()
    envs.close()
    with pytest.raises(ValueError, match="closed"):
        envs.reset()
    with pytest.raises(ValueError, match="closed"):
        envs.step([0, 0])


def test_what_the_constructor_refused_can_be_closed() -> None:
    """Gymnasium 1.2 closes it when it is garbage."""
    RLHFVectorEnv.__new__(RLHFVectorEnv).close()


def test_gymnasium_wraps_it() -> None:
    envs = gym.wrappers.vector.RecordEpisodeStatistics(make(2))
    envs.reset(seed=0)
    *_, info = envs.step([0, 1])
    assert info["episode"]["r"][0] == pytest.approx(0.25 + 0.5 * -0.688194, abs=1e-6)
    assert info["episode"]["l"][0] == 1


def test_a_limit_of_steps_truncates_as_in_a_single_environment() -> None:
    env = gym.make("RLHF-v0", task="toy15", max_episode_steps=2)
    envs = gym.make_vec("RLHF-v0", num_envs=1, task="toy15", max_episode_steps=2)
    env.reset(seed=0)
    envs.reset(seed=0)
    for _ in range(2):
        one, many = env.step(1), envs.step(np.array([1]))
        assert one[1:4] == pytest.approx(tuple(float(part[0]) for part in many[1:4]))
    assert (bool(many[2][0]), bool(many[3][0])) == (False, True)


def test_a_limit_beyond_the_horizon_changes_nothing() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=1, task="toy15", max_episode_steps=9)
    assert envs.unwrapped.mdp.options.length_limit == "score"
    with pytest.raises(ValueError, match="max_episode_steps must be an integer >= 1, got 0"):
        gym.make_vec("RLHF-v0", num_envs=1, task="toy15", max_episode_steps=0)


def test_a_registered_limit_truncates() -> None:
    spec = gym.spec("RLHF-v0")
    gym.register(
        "RLHF-short-v0",
        entry_point=spec.entry_point,
        vector_entry_point=spec.vector_entry_point,
        max_episode_steps=1,
        kwargs={"task": "toy15"},
    )
    try:
        envs = gym.make_vec("RLHF-short-v0", num_envs=2)
        envs.reset(seed=0)
        assert envs.step(np.array([1, 0]))[2:4][1].tolist() == [True, False]
    finally:
        del gym.registry["RLHF-short-v0"]


def test_seeds_are_those_of_the_rows() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=3, task="toy15")
    assert len(set(envs.np_random_seed)) == 3
    envs.reset(seed=42)
    assert envs.np_random_seed == (42, 43, 44)
    envs.reset(seed=[7, None, 8])
    assert envs.np_random_seed == (7, 43, 8)
    assert len(envs.np_random) == 3
