"""What a task normalizes and what it refuses."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

import rlhf_env
from rlhf_env import tasks
from rlhf_env.task import Task
from tests.toys import EOS, FavoriteTokenReward, tiny_llama, tiny_llama_task, tiny_tokenizer


def make(**changes: Any) -> Task:
    fields = {
        "name": "test",
        "tokenizer": tiny_tokenizer(),
        "reference": tiny_llama(),
        "reward": FavoriteTokenReward(),
        "prompts": ["w2 w3", [4], torch.tensor([5, 6])],
        "max_prompt_tokens": 4,
        **changes,
    }
    return Task(**fields)


def test_prompts_become_ids() -> None:
    task = make()
    assert [ids.tolist() for ids in task.prompts] == [[2, 3], [4], [5, 6]]
    assert all(ids.dtype == torch.int64 for ids in task.prompts)
    assert task.eval_prompts == task.prompts
    assert [ids.tolist() for ids in make(eval_prompts=["w9"]).eval_prompts] == [[9]]


def test_functions_become_rewards() -> None:
    task = make(reward=lambda prompts, responses: [1.0] * len(responses), gold=_length)
    responses = [torch.tensor([5, 6, EOS]), torch.tensor([EOS])]
    assert task.reward(list(task.prompts[:2]), responses).tolist() == [1.0, 1.0]
    assert task.gold is not None
    assert task.gold(list(task.prompts[:2]), responses).tolist() == [2.0, 0.0]
    assert make().gold is None


def _length(prompts: list[str], responses: list[str]) -> list[float]:
    return [len(text.split()) for text in responses]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "task 'test' needs at least one prompt, got none"),
        ({"prompts": ["w2 w2 w2 w2 w2"]}, "5 tokens"),
        ({"prompts": ["w2", "w3 w3 w3 w3 w3"]}, "prompt 1 has 5 tokens, more than .* = 4"),
        ({"prompts": [None]}, "prompt 0 must be a text or a list of token ids, got None"),
        ({"prompts": ["w2", ""]}, "prompt 1 has no tokens"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer >= 1, got 0"),
        ({"max_new_tokens": 2.0}, "got 2.0"),
        ({"max_prompt_tokens": True}, "max_prompt_tokens must be an integer >= 1, got True"),
        ({"kl_coef": -0.1}, "kl_coef must be a finite number >= 0, got -0.1"),
        ({"kl_coef": math.nan}, "got nan"),
        ({"kl_coef": "0.1"}, "got '0.1'"),
    ],
)
def test_bad_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize("reward", [None, 1.0, "length"])
def test_bad_rewards(reward: Any) -> None:
    with pytest.raises(TypeError, match=r"reward must be a function .* got"):
        make(reward=reward)


def test_a_tokenizer_without_eos() -> None:
    """Case: say which setting names it."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"no end-of-sequence token; set tokenizer.eos_token"):
        make(tokenizer=tokenizer)


def test_a_tokenizer_without_pad_is_left_as_it_is() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    task = make(tokenizer=tokenizer)
    assert task.pad_id == EOS
    assert tokenizer.pad_token is None


def test_variants() -> None:
    task = tiny_llama_task()
    variant = dataclasses.replace(task, max_new_tokens=3, kl_coef=0.0)
    assert (variant.max_new_tokens, variant.kl_coef) == (3, 0.0)
    assert variant.reward is task.reward
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.kl_coef = 1.0  # type: ignore[misc]


def test_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is registered here must not meet the tests that follow.
    monkeypatch.setattr(tasks, "_FACTORIES", dict(tasks._FACTORIES))
    assert {"reviews", "toy15"} <= set(rlhf_env.task_names())
    assert rlhf_env.load_task("toy15").reference is not rlhf_env.load_task("toy15").reference
    with pytest.raises(ValueError, match=r"got 'toy51'; did you mean 'toy15'"):
        rlhf_env.load_task("toy51")
    with pytest.raises(ValueError, match="'toy15' is registered already"):
        rlhf_env.register_task("toy15", tiny_llama_task)
    with pytest.raises(ValueError, match="that is not empty, got ''"):
        rlhf_env.register_task("", tiny_llama_task)
    with pytest.raises(TypeError, match=r"with a function that returns a rlhf_env\.Task, got int"):
        rlhf_env.register_task("three", 3)  # type: ignore[arg-type]
    rlhf_env.register_task("three", lambda: 3)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"task 'three' must return a rlhf_env\.Task, got int"):
        rlhf_env.load_task("three")
    name = "registered by a test"
    rlhf_env.register_task(name, tiny_llama_task)
    assert rlhf_env.load_task(name).name == "tiny-llama"


def test_a_model_object_is_copied() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    rows = [{"prompt": "w3 w4"}]
    settings = {"reward": _length, "prompts": rows, "max_new_tokens": 4}
    task = Task.from_pretrained(model, tokenizer=tokenizer, **settings)
    assert task.reference is not model
    assert all(weight.requires_grad for weight in model.parameters())
    assert task.name == "LlamaForCausalLM"
    with pytest.raises(ValueError, match="a model object needs tokenizer=, got LlamaForCausalLM"):
        Task.from_pretrained(model, **settings)
    with pytest.raises(ValueError, match="model must be a folder, a hub id or a model, got int"):
        Task.from_pretrained(3, **settings)
    with pytest.raises(ValueError, match="tokenizer goes with a model object, got one with 'x'"):
        Task.from_pretrained("x", tokenizer=tokenizer, **settings)
