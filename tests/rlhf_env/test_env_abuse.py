"""What the environment says to wrong calls; nothing changes then."""

from __future__ import annotations

import copy
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from tests.toys import EOS, tiny_gpt2_task, tiny_llama_task

REF_ROOT = (-0.688194, -2.218489, -0.944834)


def make(task: str | Task = "toy15", **options: Any) -> gym.Env[Any, Any]:
    return gym.make("RLHF-v0", task=task, **options)


def play(env: gym.Env[Any, Any], actions: list[Any], **reset: Any) -> list[tuple[Any, ...]]:
    env.reset(**reset)
    return [env.step(action) for action in actions]


ABUSE = [-1, 3, 10**30, 1.0, True, "a", None, [1], np.array([1]), torch.tensor([1]), math.nan]


class TestAbuse:
    @pytest.mark.parametrize("action", ABUSE, ids=repr)
    def test_actions(self, action: Any) -> None:
        env = make().unwrapped
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"action must be a token id in \[0, 3\), got"):
            env.step(action)
        assert env.step(0)[1] == pytest.approx(0.25 + 0.5 * REF_ROOT[0], abs=1e-6)

    @pytest.mark.parametrize("action", [0, np.int64(0), np.uint8(0), np.array(0), torch.tensor(0)])
    def test_integers_of_every_kind_are_actions(self, action: Any) -> None:
        assert play(make().unwrapped, [action])[0][4]["score"] == 0.25

    @pytest.mark.parametrize(
        "action",
        [
            0,
            {"token": 0},
            {"token": 0, "logprob": 0.5},
            {"token": 0, "logprob": math.nan},
            {"token": 0, "logprob": -math.inf},
            {"token": 0, "logprob": "likely"},
            {"token": 0, "logprob": [-1.0]},
            {"token": 3, "logprob": -1.0},
            {"token": 0, "logprob": -1.0, "value": 1.0},
        ],
        ids=repr,
    )
    def test_actions_with_logprob(self, action: Any) -> None:
        env = make(kl_penalty="sampled").unwrapped
        env.reset()
        with pytest.raises(ValueError, match=r"action.* must be .* got"):
            env.step(action)

    def test_step_needs_an_episode(self) -> None:
        for env in (make(), make().unwrapped):
            with pytest.raises(ResetNeeded, match="reset"):
                env.step(0)
        env = make()
        play(env, [0])
        with pytest.raises(ResetNeeded, match="over"):
            env.step(0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"promt": "w2"}, r"among \['prompt', 'prompt_index'\], got 'promt'"),
            ({1: "w2"}, "got 1"),
            ({"reset_mask": [True]}, "got 'reset_mask'"),
            ({"prompt": "w2", "prompt_index": 0}, "exclude each other"),
            ({"prompt_index": 3}, r"integer in \[0, 3\), got 3"),
            ({"prompt_index": -1}, "got -1"),
            ({"prompt_index": 1.5}, "got 1.5"),
            ({"prompt_index": float("nan")}, "got nan"),
            ({"prompt_index": True}, "got True"),
            ({"prompt_index": [0]}, r"got \[0\]"),
            ({"prompt": 5}, "text or a list of token ids, got 5"),
            ({"prompt": ""}, "no tokens"),
            ({"prompt": []}, "no tokens"),
            ({"prompt": [32]}, r"id 32, outside the vocabulary \[0, 32\)"),
            ({"prompt": "w2 w2 w2 w2 w2 w2"}, "6 tokens, more than max_prompt_tokens = 5"),
            ("prompt", "dictionary .* got str"),
            ([("prompt_index", 0)], "dictionary .* got list"),
        ],
    )
    def test_reset_options(self, options: Any, message: str) -> None:
        env = make(tiny_llama_task()).unwrapped
        env.reset(seed=0)
        state = env.np_random.bit_generator.state
        env.step(4)
        with pytest.raises(ValueError, match=message):
            env.reset(seed=1, options=options)
        # Nothing has happened: the episode goes on, the generator stands where it stood.
        assert env.np_random.bit_generator.state == state
        assert env.step(5)[0]["attention_mask"].sum() >= 3

    @pytest.mark.parametrize("seed", [-1, 1.5, "1", True, [1]])
    def test_seeds(self, seed: Any) -> None:
        with pytest.raises(ValueError, match="seed must be an integer >= 0"):
            make().unwrapped.reset(seed=seed)

    def test_close_twice_and_use_after(self) -> None:
        env = make(render_mode="ansi")
        env.reset()
        env.close()
        env.close()
        with pytest.raises(ValueError, match="closed"):
            env.unwrapped.reset()
        with pytest.raises(ValueError, match="closed"):
            env.unwrapped.step(0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"betaa": 0.1}, "no option 'betaa'"),
            ({"kl_coeff": 0.1}, "did you mean 'kl_coef'"),
            ({"task": "toy16"}, "did you mean 'toy15'"),
            ({"max_new_tokens": 0}, "max_new_tokens must be an integer >= 1, got 0"),
            ({"kl_penalty": "k3"}, r"one of \['reference', 'sampled', 'exact'\], got 'k3'"),
            ({"device": "cuda"}, "there is no GPU here"),
        ],
    )
    def test_options(self, options: dict[str, Any], message: str) -> None:
        if options.get("device") == "cuda" and torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(ValueError, match=message):
            gym.make("RLHF-v0", **{"task": "toy15", **options})


class TestContextWindow:
    def test_episode_must_fit(self) -> None:
        """Trap A20."""
        with pytest.raises(ValueError, match=r"5 \+ 124 exceeds .* window of 128"):
            make(tiny_gpt2_task(), max_new_tokens=124)
        play(make(tiny_gpt2_task(), max_new_tokens=123), [EOS])


class TestRewardFunctions:
    def test_a_reward_that_raises_can_be_tried_again(self) -> None:
        broken = [True]

        def fragile(prompts: list[str], responses: list[str]) -> list[float]:
            if broken:
                raise RuntimeError("no answer from the judge")
            return [7.0] * len(responses)

        task = copy.copy(tiny_llama_task())
        env = make(Task(**{**vars(task), "reward": fragile}))
        env.reset(seed=0)
        env.step(4)
        with pytest.raises(RuntimeError, match="no answer from the judge") as caught:
            env.step(EOS)
        assert "fragile" in caught.value.__notes__[0]
        broken.clear()
        _, _, terminated, _, info = env.step(EOS)
        assert terminated
        assert (info["score"], info["response_length"]) == (7.0, 2.0)

    def test_a_reward_that_answers_nan_is_named(self) -> None:
        def sloppy(prompts: list[str], responses: list[str]) -> list[float]:
            return [math.nan]

        env = make(Task(**{**vars(tiny_llama_task()), "reward": sloppy}))
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"sloppy must return 1 finite numbers, got nan"):
            env.step(EOS)

    def test_a_reward_that_writes_into_its_arguments_harms_nobody(self) -> None:
        def vandal(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
            for ids in (*prompts, *responses):
                ids.zero_()
            return torch.ones(len(responses))

        task = Task(**{**vars(tiny_llama_task()), "reward": vandal})
        env = make(task)
        before, _ = env.reset(options={"prompt_index": 1})
        after, *_ = env.step(EOS)
        assert after["input_ids"][:3].tolist() == [*before["input_ids"][:2].tolist(), EOS]
        assert task.prompts[1].tolist() == [3, 2]


@pytest.mark.parametrize("task", [3, None, ["toy15"], Task], ids=repr)
def test_what_is_no_task(task: Any) -> None:
    for made in (gym.make, gym.make_vec):
        with pytest.raises(
            ValueError,
            match=r"task must be a Task or one of the names \[.*'reviews', 'toy15'\], got",
        ):
            made("RLHF-v0", task=task)


def test_a_prompt_with_a_word_that_the_vocabulary_lacks() -> None:
    with pytest.raises(ValueError, match=r"^reset option 'prompt' cannot be encoded, got 'zzz'"):
        make().reset(options={"prompt": "zzz"})
