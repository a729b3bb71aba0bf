"""Rollouts of a wrapped environment, decoded at once and stepped."""

from __future__ import annotations

import copy

import pytest
import torch

import wrappers.vector
from agents import Policy, collect
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import tiny_llama_task
from tests.wrappers.stacks import STACKS, TERMS

TASK = tiny_llama_task(vocab_size=8, horizon=5)


@pytest.mark.parametrize("name", [*TERMS, "text", "recorded(every_2)"])
def test_decoding_pays_what_stepping_pays(name: str) -> None:
    policy = Policy(copy.deepcopy(TASK.reference), TASK.vocab_size)
    fast, stepped = (
        collect(STACKS[name](wrappers.vector, RLHFVectorEnv(3, TASK)), policy, 7, fast=fast, seed=1)
        for fast in (True, False)
    )
    assert torch.equal(fast.tokens, stepped.tokens)
    torch.testing.assert_close(fast.rewards, stepped.rewards, atol=1e-4, rtol=0)
    torch.testing.assert_close(fast.score, stepped.score, atol=1e-4, rtol=0)
    assert set(fast.reward_terms) == set(stepped.reward_terms)
