"""The games as environments: checkers, rows, stepping, caches, and runs that were interrupted."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from agents import GRPO, Agent, Policy, collect
from agents.training.run_log import read_metrics
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, weights, without_time
from tests.rlhf_env.test_vector_env import same

GAMES = ["countdown", "countdown-small", "guess", "guess-3", "reverse", "reverse-small"]


@cache
def task_named(name: str) -> Task:
    return load_task(name)


def sampled(task: Task) -> Any:
    """What a policy that is the reference says, as a source of sensible tokens."""
    return Policy(task.reference, task.vocab_size)


@pytest.mark.parametrize("name", GAMES)
def test_both_checkers_pass(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for penalty in ("reference", "sampled"):
            env = gym.make("RLHF-v0", task=task_named(name), kl_penalty=penalty)
            check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(gym.make("RLHF-v0", task=task_named(name)).unwrapped, warn=True)


@pytest.mark.parametrize("name", GAMES)
def test_rows_are_single_environments(name: str) -> None:
    """Both say what the reference likes; the guesses of a conversation are answered by chance."""
    task, random = task_named(name), np.random.default_rng(0)
    reference = LanguageModel(task.reference, task.vocab_size)
    mode = AutoresetMode.NEXT_STEP
    rows = gym.make_vec("RLHF-v0", num_envs=3, task=task, autoreset_mode=mode)
    singles = SyncVectorEnv([lambda: gym.make("RLHF-v0", task=task)] * 3, autoreset_mode=mode)
    seen, other = rows.reset(seed=3), singles.reset(seed=3)
    same(seen, other)
    ended = 0
    for _ in range(40):
        ids = torch.from_numpy(seen[0]["input_ids"]).long()
        lengths = torch.from_numpy(seen[0]["attention_mask"]).sum(1)
        chances = reference.next_logits(ids, lengths).softmax(-1).double().numpy()
        tokens = np.array([random.choice(task.vocab_size, p=p / p.sum()) for p in chances])
        seen, other = rows.step(tokens), singles.step(tokens)
        same(seen, other)
        ended += int(seen[2].sum())
    assert ended > 3


@pytest.mark.parametrize("name", GAMES)
def test_stepping_gives_the_numbers_of_the_rollout(name: str) -> None:
    """Decoding uses the cache, a pass over whole episodes does not; stepping pays one by one."""
    task = task_named(name)
    policy = sampled(task)
    fast, stepped = (
        collect(make_envs(task), policy, 12, seed=3, fast=is_fast) for is_fast in (True, False)
    )
    assert len(set(map(tuple, fast.tokens.tolist()))) > 2
    for field in ("tokens", "is_action", "decision"):
        assert torch.equal(getattr(fast, field), getattr(stepped, field))
    for field in ("logprobs", "ref_logprobs", "rewards", "score"):
        assert torch.allclose(getattr(fast, field), getattr(stepped, field), atol=1e-4)
    uncached = policy.evaluate_episodes(fast.tokens, fast.is_action).logprobs
    assert torch.allclose(uncached, fast.logprobs, atol=1e-4)


@pytest.mark.parametrize("name", ["countdown", "guess", "reverse"])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(name: str, tmp_path: Path) -> None:
    def learn(folder: str, stop: int) -> Agent:
        agent = GRPO(
            make_envs(task_named(name)), episodes_per_update=16, learning_rate=1e-3, seed=1
        )
        agent.learn(stop * 16, log_dir=tmp_path / folder, progress=False)
        return agent

    whole = learn("whole", 4)
    learn("parts", 1)
    learn("parts", 2)
    assert_equal(weights(whole), weights(learn("parts", 4)))
    runs = [read_metrics(tmp_path / folder / "metrics.jsonl") for folder in ("whole", "parts")]
    assert len(runs[0]) == 4
    assert without_time(runs[0]) == without_time(runs[1])
