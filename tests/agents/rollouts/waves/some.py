"""A wave and policies to decode."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from agents.policy import Policy
from agents.rollouts.waves.wave import Wave
from tests.toys import EOS, tiny_gpt2, tiny_llama

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
    return Qwen2ForCausalLM(config).to(torch.bfloat16).eval()


MODELS = {
    "llama": tiny_llama,
    "llama, 5000 tokens": large_llama,
    "llama, eager attention": eager_llama,
    "gpt2": tiny_gpt2,
    "qwen2, bf16": half_qwen2,
}
