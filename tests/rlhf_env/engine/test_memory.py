"""Episodes that are over leave nothing behind: neither memory nor time."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.toys import EOS, tiny_llama_task

MIB = 2**20


def resident() -> int:
    """Bytes of this process in memory now."""
    gc.collect()
    return psutil.Process().memory_info().rss


def tensor_bytes() -> int:
    """Bytes of all tensors that are alive."""
    gc.collect()
    storages = {
        thing.untyped_storage().data_ptr(): thing.untyped_storage().nbytes()
        for thing in gc.get_objects()
        if type(thing) in (torch.Tensor, torch.nn.Parameter)
    }
    return sum(storages.values())


@contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """Follow what Python and NumPy allocate; yields what is held now, in bytes."""

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        yield held
    finally:
        tracemalloc.stop()


@contextmanager
def counted_calls() -> Iterator[Callable[[], int]]:
    """Count the calls of functions, Python's and C's: work, whatever else the machine does."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        yield lambda: calls
    finally:
        sys.setprofile(None)


def run_episodes(envs: Any, count: int, rng: np.random.Generator) -> list[int]:
    """Finish that many episodes; return how many function calls each step made."""
    vocab_size, eos, done, work = envs.task.vocab_size, envs.task.eos_id, 0, []
    while done < count:
        actions = rng.integers(0, vocab_size, envs.num_envs)
        actions[rng.random(envs.num_envs) < 0.2] = eos
        with counted_calls() as calls:
            _, _, terminated, truncated, _ = envs.step(actions)
        work.append(calls())
        done += int((terminated | truncated).sum())
    return work


# A task, episodes to begin with, and episodes after which as much is held.
KINDS: dict[str, tuple[Callable[[], Task], int, int]] = {
    "toy15": (lambda: load_task("toy15"), 2000, 10_000),
    "llama": (tiny_llama_task, 100, 500),
}


def growth(kind: str, tensors: str) -> list[int]:
    """Bytes by which Python's memory, tensors and the whole process have grown."""
    make_task, warm_up, episodes = KINDS[kind]
    envs: Any = gym.make_vec("RLHF-v0", num_envs=16, task=make_task(), tensors=tensors)
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    with traced_memory() as python_bytes:
        run_episodes(envs, warm_up, rng)
        before = python_bytes(), tensor_bytes(), resident()
        run_episodes(envs, episodes, rng)
        after = python_bytes(), tensor_bytes(), resident()
    return [now - then for now, then in zip(after, before, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tensors", ["numpy", "torch"])
def test_memory_does_not_grow_with_past_episodes(kind: str, tensors: str) -> None:
    """A leak of one observation per step would be 1 MB on toy15 and 280 kB on the llama.

    In a process of its own: threads that other tests have left behind take memory too.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        grown = alone.submit(growth, kind, tensors).result()
    assert grown[0] < 128 * 1024
    assert abs(grown[1]) < 16 * 1024
    assert grown[2] < 8 * MIB


@pytest.mark.slow
def test_a_step_does_not_do_more_after_thousands_of_episodes() -> None:
    envs: Any = gym.make_vec("RLHF-v0", num_envs=16, task=load_task("toy15"))
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    run_episodes(envs, 1000, rng)
    early = run_episodes(envs, 1000, rng)
    run_episodes(envs, 8000, rng)
    late = run_episodes(envs, 1000, rng)
    # How much a step does depends on how many rows it resets: the medians are over many.
    assert np.median(late) < 1.05 * np.median(early)


@pytest.mark.parametrize("num_envs", [1, 4])
def test_resets_in_mid_episode_free_what_the_episode_held(num_envs: int) -> None:
    task = tiny_llama_task()
    envs: Any = gym.make_vec("RLHF-v0", num_envs=num_envs, task=task)
    without_cache = tensor_bytes()
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.full(num_envs, 5))
    held = tensor_bytes()
    assert held > without_cache
    for _ in range(1000):
        envs.reset()
        envs.step(np.full(num_envs, 5))
    assert tensor_bytes() - held < 4096
    envs.close()
    # Only the rows of token ids are left, and they were there before.
    assert tensor_bytes() - without_cache < 4096


def test_observations_that_are_kept_cost_their_own_size() -> None:
    """10,000 of them: no view of a larger array, no cache behind them."""
    env = gym.make("RLHF-v0", task="toy15")
    kept = []
    while len(kept) < 10_000:
        kept.append(env.reset()[0])
        kept.append(env.step(1)[0])
        kept.append(env.step(0)[0])
    arrays = [array for observation in kept for array in observation.values()]
    assert all(array.base is None for array in arrays)
    # Four ids of 8 bytes and four bits of the mask of 1 byte.
    assert sum(array.nbytes for array in arrays) == 36 * len(kept)


def test_the_engine_s_memory_is_bounded_by_rows_and_width() -> None:
    """Keys and values of 4 rows of 13 tokens: 2 layers, 2 heads of 8, two of float32 each.

    Beside them there may be copies of five of the seven matrices of each layer.
    """
    task = tiny_llama_task()
    envs: Any = gym.make_vec("RLHF-v0", num_envs=4, task=task)
    copied = sum(
        4 * weight.numel()
        for name, weight in task.reference.named_parameters()
        if any(part in name for part in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
    )
    before = tensor_bytes()
    envs.reset(seed=0)
    for action in (5, 6, 7, EOS, 5):
        envs.step(np.full(4, action))
    cache = 4 * 13 * 2 * 2 * (2 * 8) * 4
    assert cache <= tensor_bytes() - before < 3 * cache + copied
