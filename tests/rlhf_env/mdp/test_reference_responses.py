from __future__ import annotations

import numpy as np
import pytest
import torch

from rlhf_env.env import RLHFEnv
from rlhf_env.mdp.reference_responses import sample_reference
from rlhf_env.task import Task
from tests.toys import EOS, tiny_llama_task


def test_first_tokens_follow_the_reference(toy15: Task) -> None:
    prompts = [toy15.prompts[0]] * 4096
    responses = sample_reference(RLHFEnv(toy15).mdp, prompts, np.random.default_rng(0))
    counts = torch.stack([row[0] for row in responses]).bincount(minlength=3) / 4096
    assert counts.tolist() == pytest.approx([0.502483, 0.108773, 0.388744], abs=0.025)
    for row in responses:
        assert 1 <= len(row) <= 3
        assert not (row[:-1] == 0).any()
        assert len(row) == 3 or row[-1] == 0


def test_responses_depend_on_the_seed_and_nothing_else() -> None:
    task = tiny_llama_task(vocab_size=8, horizon=6)
    prompts = [task.prompts[row % 3] for row in range(70)]
    env = RLHFEnv(task)
    env.reset(seed=0)
    before = env.mdp.tokens.clone()
    first = sample_reference(env.mdp, prompts, np.random.default_rng(3))
    again = sample_reference(RLHFEnv(task).mdp, prompts, np.random.default_rng(3))
    assert [row.tolist() for row in first] == [row.tolist() for row in again]
    assert torch.equal(env.mdp.tokens, before)
    assert any(row[-1] == EOS for row in first)
    other = sample_reference(env.mdp, prompts, np.random.default_rng(4))
    assert [row.tolist() for row in first] != [row.tolist() for row in other]


def test_the_horizon_is_that_of_the_environment() -> None:
    task = tiny_llama_task(vocab_size=8, horizon=6)
    mdp = RLHFEnv(task, max_new_tokens=2).mdp
    responses = sample_reference(mdp, [task.prompts[2]] * 9, np.random.default_rng(0))
    assert max(len(row) for row in responses) == 2
