from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.rollout import RolloutTransform
from rlhf_env.task import Task
from rlhf_env.tasks.table import table_tokenizer
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task

TASK = tiny_llama_task(vocab_size=8, horizon=4)


def test_prompt_and_response_are_told() -> None:
    env = wrappers.DecodedText(RLHFEnv(TASK))
    _, info = env.reset(options={"prompt_index": 1})
    assert (info["prompt"], info["text"]) == ("w3 w2", "")
    assert [env.step(token)[4]["text"] for token in (5, 4, EOS)] == ["w5", "w5 w4", "w5 w4"]


def test_a_row_that_is_reset_at_once_tells_both_texts() -> None:
    envs = wrappers.vector.DecodedText(
        RLHFVectorEnv(2, TASK, autoreset_mode=AutoresetMode.SAME_STEP)
    )
    envs.reset(seed=0, options={"prompt_index": 1})
    envs.step(np.array([5, 4]))
    *_, info = envs.step(np.array([EOS, 3]))
    assert info["final_info"]["text"][0] == "w5"
    assert info["final_info"]["prompt"][0] == "w3 w2"
    assert info["text"].tolist() == ["", "w4 w3"]


def test_control_characters_are_kept_in_data_and_escaped_in_the_picture(toy15: Task) -> None:
    class Bell(type(toy15.tokenizer)):  # type: ignore[misc]
        def decode(self, ids: torch.Tensor, **options: object) -> str:
            return "\x1b[31m" * len(ids)

    tokenizer = table_tokenizer(3)
    tokenizer.__class__ = Bell
    object.__setattr__(toy15, "tokenizer", tokenizer)
    env = wrappers.DecodedText(gym.make("RLHF-v0", task=toy15, render_mode="ansi"))
    env.reset(seed=0)
    assert env.step(1)[4]["text"] == "\x1b[31m"
    picture = env.render()
    assert isinstance(picture, str)
    assert "\\x1b[31m" in picture


@pytest.mark.parametrize("package", [wrappers, wrappers.vector])
def test_rollouts_stay_fast(package: object) -> None:
    env = RLHFEnv(TASK) if package is wrappers else RLHFVectorEnv(2, TASK)
    assert isinstance(package.DecodedText(env), RolloutTransform)  # type: ignore[attr-defined]
