"""Waves, plans and policies to decode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from agents.policy import Policy
from agents.rollouts.collect import base_environment
from agents.rollouts.sampling_plan import SamplingPlan, draw_episodes
from agents.rollouts.waves.wave import Wave
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_gpt2, tiny_llama, tiny_llama_task

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def a_wave(policy: Policy, rows: int = 8, *, greedy: bool = False) -> Wave:
    """Prompts of three or four tokens, room for eight more, and the first of these drawn."""
    device, vocab_size = policy.lm.device, policy.lm.vocab_size
    starts = 3 + torch.arange(rows, device=device) % 2
    generator = torch.Generator().manual_seed(0)
    wave = Wave(
        policy=policy,
        eos_id=EOS,
        tokens=torch.randint(2, vocab_size, (rows, 12), generator=generator).to(device),
        logprobs=torch.zeros(rows, 12, device=device),
        starts=starts,
        lengths=starts.clone(),
        uniforms=None if greedy else torch.rand(rows, 8, generator=generator).to(device),
        alive=torch.ones(rows, dtype=torch.bool, device=device),
        last=torch.zeros_like(starts),
        drawn=starts.new_zeros(()),
    )
    with torch.inference_mode():
        wave.draw(policy.lm.engine.logits_view(wave.tokens, starts))
    return wave


def large_llama(seed: int = 0) -> PreTrainedModel:
    """From 4096 tokens on, drawing goes block by block."""
    return tiny_llama(5000, seed)


def eager_llama(seed: int = 0) -> PreTrainedModel:
    model = tiny_llama(seed=seed)
    model.set_attn_implementation("eager")
    return model


def half_qwen2(seed: int = 0) -> PreTrainedModel:
    """As `benchmarks.gpu` has it: bf16, two key heads, tied embeddings."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    model: PreTrainedModel = Qwen2ForCausalLM(config).eval()
    return model.bfloat16()


HORIZON = 60
PLAINLY = "decoded without CUDA graphs, with the same numbers: "

MODELS = {
    "llama": tiny_llama,
    "llama, 5000 tokens": large_llama,
    "llama, eager attention": eager_llama,
    "gpt2": tiny_gpt2,
    "qwen2, bf16": half_qwen2,
}


def drawn(
    vocab_size: int = 32, *, greedy: bool = False, episodes: int = 11, device: str = "cpu"
) -> tuple[RLHFVectorEnv, SamplingPlan]:
    """Eleven episodes for four rows, with prompts of one to five tokens."""
    task = tiny_llama_task(vocab_size=vocab_size, horizon=HORIZON)
    base = base_environment(gym.make_vec("RLHF-v0", num_envs=4, task=task, device=device))
    return base, draw_episodes(base, episodes, 1, 3, None, greedy=greedy)


def assert_same(rollout: Rollout, other: Rollout, tolerance: float = 0.0) -> None:
    for field in ("tokens", "is_action"):
        assert torch.equal(getattr(rollout, field), getattr(other, field)), field
    torch.testing.assert_close(rollout.logprobs, other.logprobs, atol=tolerance, rtol=0.0)


class Looks(nn.LayerNorm):
    """Looks at a number of the device."""

    def forward(self, input: Tensor) -> Tensor:
        normal = super().forward(input)
        if normal.abs().max() > 1e6:
            raise OverflowError
        return normal


def with_norm(kind: type[nn.LayerNorm], device: str = "cpu") -> Policy:
    model: Any = tiny_gpt2(seed=1)
    policy = Policy(model.to(device), 32)
    model.transformer.ln_f.__class__ = kind
    return policy
