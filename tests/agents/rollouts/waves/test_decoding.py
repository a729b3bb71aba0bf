"""Decoding in waves draws the episodes that decoding with refilled rows draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import PPO, Policy
from agents.rollouts.collect import base_environment, collect, decode
from agents.rollouts.sampling_plan import draw_episodes
from agents.rollouts.waves.decoding import (
    decode_in_waves,
    decodes_in_waves,
    recorders_of,
    spans,
)
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.rollouts.test_collect import TASKS, other_policy
from tests.agents.rollouts.waves.some import a_wave, gpu
from tests.toys import tiny_llama, tiny_llama_task


def both(build: Callable[[], Task], greedy: bool = False) -> tuple[Rollout, Rollout]:
    """Eleven episodes in four rows, one way and the other."""
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=build())
    base, policy = base_environment(envs), other_policy(base_environment(envs).task)
    plan = draw_episodes(base, 11, 1, 3, None, greedy=greedy)
    return decode_in_waves(base, policy, plan), decode(base, policy, plan)


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_episodes_are_the_same(name: str, greedy: bool) -> None:
    waves, refilled = both(TASKS[name], greedy)
    for field in ("tokens", "is_action", "group", "decision"):
        assert torch.equal(getattr(waves, field), getattr(refilled, field)), field
    torch.testing.assert_close(waves.logprobs, refilled.logprobs, atol=1e-4, rtol=0.0)
    # Responses of several lengths.
    assert greedy or len(set(waves.is_action.sum(dim=1).tolist())) > 1


def test_damaged_weights_are_named() -> None:
    task = tiny_llama_task()
    base = base_environment(gym.make_vec("RLHF-v0", num_envs=4, task=task))
    policy = Policy(tiny_llama(seed=1), 32)
    with torch.no_grad():
        policy.model.model.norm.weight[0] = torch.nan  # type: ignore[union-attr,index,operator]
    with pytest.raises(ValueError, match="logits for row 0 are not finite"):
        decode_in_waves(base, policy, draw_episodes(base, 4, 1, 0, None))


def test_on_a_cpu_rows_are_refilled() -> None:
    base = base_environment(gym.make_vec("RLHF-v0", num_envs=4, task=tiny_llama_task()))
    assert not decodes_in_waves(base, other_policy(base.task))


def test_on_a_cpu_nothing_is_recorded_and_on_a_gpu_it_can_be_switched_off() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=tiny_llama_task())
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    policy, plain = PPO(envs).policy, PPO(envs, cuda_graphs=False).policy
    assert [recorders_of(each, cpu) for each in (policy, plain)] == [None, None]
    assert recorders_of(policy, gpu) is not None
    assert recorders_of(plain, gpu) is None


def test_models_with_hooks_are_not_recorded() -> None:
    """A graph would not call them."""
    policy = other_policy(tiny_llama_task())
    policy.model.get_submodule("model.layers.1").register_forward_hook(lambda *_: None)
    assert recorders_of(policy, torch.device("cuda")) is None


def test_attention_reads_multiples_of_128_positions() -> None:
    assert list(spans(129, 639, 640)) == [(256, 128), (384, 128), (512, 128), (640, 127)]
    assert list(spans(100, 130, 200)) == [(128, 29), (200, 2)]
    assert list(spans(6, 36, 37)) == [(37, 31)]
    assert list(spans(6, 5, 37)) == []


def on_gpu() -> PPO:
    envs = gym.make_vec("RLHF-v0", num_envs=8, task=tiny_llama_task(), device="cuda")
    return PPO(envs, episodes_per_update=8, seed=0)


def on_cpu(rollout: Rollout) -> Rollout:
    """The same episodes on the other device."""

    def moved(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.cpu()
        return {k: v.cpu() for k, v in value.items()} if isinstance(value, dict) else value

    return rollout.replace(**{f.name: moved(getattr(rollout, f.name)) for f in fields(rollout)})


class TestOnGPU:
    """What a machine with CUDA checks; `benchmarks/gpu.py` runs it first."""

    pytestmark = gpu

    def test_sampled_logprobs_are_those_of_whole_texts(self) -> None:
        agent = on_gpu()
        rollout = agent.collect()
        whole = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
        torch.testing.assert_close(rollout.logprobs, whole.logprobs, atol=1e-3, rtol=1e-3)

    def test_fast_is_stepped(self) -> None:
        agent = on_gpu()
        fast, stepped = (
            collect(agent.envs, agent.policy, 16, seed=1, fast=f) for f in (True, False)
        )
        assert torch.equal(fast.tokens, stepped.tokens)
        torch.testing.assert_close(fast.rewards, stepped.rewards, atol=1e-3, rtol=1e-3)

    def test_a_token_does_not_wait_for_the_device(self) -> None:
        agent = on_gpu()
        wave = a_wave(agent.policy)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                wave.step(12)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_an_update_is_that_of_a_cpu(self) -> None:
        agent = on_gpu()
        rollout = agent.collect()
        envs = gym.make_vec("RLHF-v0", num_envs=8, task=tiny_llama_task())
        twin = PPO(envs, episodes_per_update=8, seed=0)
        ours, theirs = agent.update(rollout), twin.update(on_cpu(rollout))
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)
