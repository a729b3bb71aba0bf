"""The model and the agent of `benchmarks.gpu`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import agents
import rlhf_env
from benchmarks.models import EOS, PAD
from benchmarks.side_own import even_ids
from benchmarks.works import Order, Work


def make_qwen2(work: Work) -> Qwen2ForCausalLM:
    """Return a random Qwen2 with two key heads, in bf16."""
    transformers.set_seed(0)
    config = Qwen2Config(
        vocab_size=work.vocab_size,
        hidden_size=work.hidden_size,
        intermediate_size=work.intermediate_size,
        num_hidden_layers=work.layers,
        num_attention_heads=work.heads,
        num_key_value_heads=2,
        max_position_embeddings=work.prompt_tokens + work.new_tokens,
        tie_word_embeddings=work.tied,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    return Qwen2ForCausalLM(config).to(torch.bfloat16)


def make_agent(order: Order, device: str) -> agents.Agent:
    """Return the GRPO agent that does the order's work on a device."""
    work = order.work
    task = rlhf_env.Task(
        name="gpu",
        tokenizer=PreTrainedTokenizerFast.from_pretrained(order.folder),
        reference=AutoModelForCausalLM.from_pretrained(order.folder, dtype=torch.bfloat16),
        reward=even_ids,
        prompts=[torch.tensor(ids) for ids in order.prompts()],
        max_prompt_tokens=work.prompt_tokens,
        max_new_tokens=work.new_tokens,
    )
    envs: Any = gym.make_vec("RLHF-v0", num_envs=work.episodes, task=task, device=device)
    return agents.GRPO(
        envs,
        group_size=work.group_size,
        episodes_per_update=work.episodes,
        learning_rate=order.learning_rate,
        kl_coef=order.kl_coef,
    )
