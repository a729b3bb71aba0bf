"""Resets and actions of the vector environment, right ones and wrong ones."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from tests.rlhf_env.test_vector_env import same
from tests.toys import EOS, FavoriteTokenReward, tiny_llama_task


def make(num_envs: int, task: str | Task = "toy15", **options: Any) -> Any:
    return gym.make_vec("RLHF-v0", num_envs=num_envs, task=task, **options)


class TestReset:
    def test_callers_dictionary_is_left_alone(self) -> None:
        """Trap H12."""
        mask = np.array([True, False])
        options = {"reset_mask": mask, "prompt_index": [1, 2]}
        envs = make(2, tiny_llama_task())
        envs.reset(seed=0)
        envs.reset(options=options)
        assert options.keys() == {"reset_mask", "prompt_index"}
        assert options["reset_mask"] is mask
        assert mask.tolist() == [True, False]

    def test_prompts(self) -> None:
        envs = make(3, tiny_llama_task())
        for options, ids, index in (
            ({"prompt_index": [2, 0, 1]}, [[2, 3, 2], [2, 0, 0], [3, 2, 0]], [2, 0, 1]),
            ({"prompt_index": np.array([2, 0, 1])}, [[2, 3, 2], [2, 0, 0], [3, 2, 0]], [2, 0, 1]),
            ({"prompt_index": torch.tensor([0, 0, 1])}, [[2, 0, 0]] * 2 + [[3, 2, 0]], [0, 0, 1]),
            ({"prompt_index": 1}, [[3, 2, 0]] * 3, [1, 1, 1]),
            ({"prompt": "w9 w8"}, [[9, 8, 0]] * 3, [-1, -1, -1]),
            ({"prompt": [9, 8]}, [[9, 8, 0]] * 3, [-1, -1, -1]),
            ({"prompt": ["w9", [8], "w7 w6"]}, [[9, 0, 0], [8, 0, 0], [7, 6, 0]], [-1, -1, -1]),
        ):
            observation, info = envs.reset(options=options)
            assert observation["input_ids"][:, :3].tolist() == ids
            assert info["prompt_index"].tolist() == index

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"prompt": ["w2", "w3"]}, "one value or 3 of them, got 2"),
            ({"prompt_index": [0]}, "one value or 3 of them, got 1"),
            ({"prompt_index": [0, 0, 9]}, r"integer in \[0, 3\), got 9"),
            ({"prompt_index": [0, 0.5, 1]}, r"got 0\.5"),
            ({"prompt": []}, "one value or 3 of them, got 0"),
            ({"prompts": "w2"}, "got 'prompts'"),
            ({"reset_mask": [1, 0, 1]}, "3 booleans .* got int64"),
            ({"reset_mask": [True, False]}, "3 booleans"),
            ({"reset_mask": [False] * 3}, "at least one True"),
            ({"reset_mask": True}, "3 booleans"),
            (["reset_mask"], "dictionary"),
        ],
    )
    def test_bad_options_change_nothing(self, options: Any, message: str) -> None:
        envs, twin = make(3, tiny_llama_task()), make(3, tiny_llama_task())
        for each in (envs, twin):
            each.reset(seed=0)
            each.step([3, 4, 5])
        with pytest.raises(ValueError, match=message):
            envs.reset(seed=1, options=options)
        same(envs.step([6, 7, 8]), twin.step([6, 7, 8]))
        same(envs.reset(), twin.reset())

    def test_seeds(self) -> None:
        envs = make(3, tiny_llama_task())
        by_number = [envs.reset(seed=4)[1]["prompt_index"].tolist() for _ in range(2)]
        by_list = envs.reset(seed=[4, 5, 6])[1]["prompt_index"].tolist()
        by_array = envs.reset(seed=np.array([4, 5, 6]))[1]["prompt_index"].tolist()
        assert by_number == [by_list, by_list]
        assert by_array == by_list
        assert envs.reset(seed=np.int64(4))[1]["prompt_index"].tolist() == by_list
        for seed, message in (
            ([1, 2], "list of 3, got 2"),
            (-1, "integer >= 0"),
            (0.5, "integer >= 0"),
            ([1, 2, "3"], "integer >= 0"),
            ("123", "integer >= 0"),
        ):
            with pytest.raises(ValueError, match=message):
                envs.reset(seed=seed)

    def test_one_prompt_eight_rows(self) -> None:
        envs = make(8)
        first, again = envs.reset(seed=0), envs.reset(seed=0)
        same(first, again)
        assert first[1]["prompt_index"].tolist() == [0.0] * 8


class TestActions:
    @pytest.mark.parametrize(
        ("actions", "message"),
        [
            ([0], r"shape \[3\], one per row, got \[1\]"),
            ([0, 1, 2, 0], r"shape \[3\], one per row, got \[4\]"),
            ([[0, 1, 2]], r"got \[1, 3\]"),
            (1, r"got \[\]"),
            ([0.0, 1.0, 2.0], "integer token ids, got torch.float32"),
            (np.array([True, False, True]), "integer token ids, got torch.bool"),
            (["a", "b", "c"], "must be numbers"),
            (None, "must be numbers"),
            ([0, 1, 3], r"\[0, 3\), got 3 in row 2"),
            ([0, -1, 2], "got -1 in row 1"),
        ],
    )
    def test_bad_actions_change_nothing(self, actions: Any, message: str) -> None:
        envs = make(3)
        envs.reset(seed=0)
        with pytest.raises(ValueError, match=message):
            envs.step(actions)
        assert envs.step([0, 1, 2])[4]["_score"].tolist() == [True, False, False]

    @pytest.mark.parametrize(
        ("actions", "message"),
        [
            ([0, 1], "token.*logprob"),
            ({"token": [0, 1]}, "token.*logprob"),
            ({"token": [0, 1], "logprob": [-1.0]}, "shape"),
            ({"token": [0, 1], "logprob": [-1.0, 0.1]}, "got 0.1.* in row 1"),
            ({"token": [0, 1], "logprob": [math.nan, -1.0]}, "got nan in row 0"),
        ],
    )
    def test_bad_actions_with_logprobs(self, actions: Any, message: str) -> None:
        envs = make(2, kl_penalty="sampled")
        envs.reset(seed=0)
        with pytest.raises(ValueError, match=message):
            envs.step(actions)

    @pytest.mark.parametrize(
        "actions",
        [[0, 1], (0, 1), np.array([0, 1], np.int32), torch.tensor([0, 1]), np.array([0, 1], "u1")],
    )
    def test_integers_of_every_kind(self, actions: Any) -> None:
        envs = make(2)
        envs.reset(seed=0)
        assert envs.step(actions)[2].tolist() == [True, False]

    def test_sampled_actions_of_the_space_are_accepted(self) -> None:
        for kl_penalty in ("reference", "sampled"):
            envs = make(5, tiny_llama_task(), kl_penalty=kl_penalty)
            envs.reset(seed=0)
            envs.action_space.seed(0)
            for _ in range(20):
                observation, *_ = envs.step(envs.action_space.sample())
                assert envs.observation_space.contains(observation)


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, True])
def test_number_of_rows(num_envs: Any) -> None:
    with pytest.raises(ValueError, match="num_envs must be an integer >= 1, got"):
        make(num_envs)


def test_nan_names_row_and_step() -> None:
    """Trap A21: row 1 reads a token whose embedding is broken."""
    task = tiny_llama_task()
    with torch.no_grad():
        task.reference.get_input_embeddings().weight[9] = math.nan
    envs = make(2, task)
    envs.reset(options={"prompt_index": 0})
    envs.step([4, 9])
    with pytest.raises(ValueError, match=r"reference gave log-probability nan .* row 1 at step 1"):
        envs.step([4, 4])


def test_a_reward_that_fails_leaves_all_rows_where_they_were() -> None:
    class Fragile(FavoriteTokenReward):
        is_broken = True

        def __call__(self, prompts: list[torch.Tensor], responses: list[torch.Tensor]) -> Any:
            return None if self.is_broken else super().__call__(prompts, responses)

    reward = Fragile()
    envs = make(3, Task(**{**vars(tiny_llama_task()), "reward": reward}))
    envs.reset(seed=0)
    before = envs.step([4, 5, 5])[0]["input_ids"]
    with pytest.raises(ValueError, match="Fragile must return 2 finite numbers, got NoneType"):
        envs.step([EOS, 5, EOS])
    reward.is_broken = False
    after, _, terminated, _, info = envs.step([EOS, 6, EOS])
    assert terminated.tolist() == [True, False, True]
    assert info["score"] == pytest.approx([-0.2, 0.0, 0.8], abs=1e-6)
    assert (after["attention_mask"].sum(1) == (before != 0).sum(1) + 1).all()
