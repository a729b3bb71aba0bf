"""An update's memory grows with the chunk of logits, not with batch x length x vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_env.engine.language_model import LanguageModel


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that the allocator held at once beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    results = recorded.profiler.kineto_results  # type: ignore[union-attr]
    held = peak = 0
    for event in results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def small_llama(vocab_size: int, length: int) -> LlamaForCausalLM:
    """A model whose vocabulary is nearly all of it."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=length,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    )


def test_the_measure_finds_what_is_allocated() -> None:
    """Two tensors of 4 MB, of which one is gone when the next comes."""

    def work() -> None:
        for _ in range(3):
            torch.empty(1_000_000).fill_(1.0)

    assert 4_000_000 <= peak_bytes(work) < 4_100_000


@pytest.mark.slow
def test_peak_of_an_update_at_a_large_vocabulary() -> None:
    """Logits [8, 512, 50257] of float32 alone would take 823 MB."""
    vocab_size, rows, length = 50_257, 8, 512
    lm = LanguageModel(small_llama(vocab_size, length), vocab_size)
    optimizer = torch.optim.Adam(lm.model.parameters(), lr=1e-6)
    tokens = torch.randint(0, vocab_size, (rows, length))
    is_state = (torch.arange(length) < length - 1).expand(rows, length)

    def update() -> None:
        hidden = lm.packed_hidden(tokens, is_state)
        logprobs, entropy = lm.logprob_and_entropy(hidden, tokens[:, 1:].flatten())
        (logprobs.mean() + 0.01 * entropy.mean()).backward()
        optimizer.step()

    assert peak_bytes(update) < 823_410_688 / 4
