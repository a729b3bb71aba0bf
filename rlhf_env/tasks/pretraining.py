"""Fitting the small language models of the built-in tasks to texts, and sampling from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is fitted: AdamW with a one-cycle learning rate."""

    steps: int
    """Optimiser steps."""
    batch_size: int
    """Texts, or pairs, per step."""
    learning_rate: float
    """Peak learning rate."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""


def small_config(vocab_size: int, eos_id: int, pad_id: int) -> LlamaConfig:
    """Return the shape that the small language models of the built-in tasks share."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos_id,
        pad_token_id=pad_id,
    )


def new_model(config: LlamaConfig) -> LlamaForCausalLM:
    """Return a model whose weights are to be loaded or drawn; the global generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        return LlamaForCausalLM(config)


def draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Draw every matrix of a model from N(0, 0.05²), in place; vectors keep their values."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.05, generator=generator)


def fit(
    model: LlamaForCausalLM,
    prompts: Sequence[Tensor],
    texts: Sequence[Tensor],
    training: Training,
    generator: torch.Generator,
) -> LlamaForCausalLM:
    """Fit a model to texts in place, by the mean cross-entropy of their tokens, and return it.

    Args:
        model: trained from the weights it has.
        prompts: ids of the prompt before each text.
        texts: ids of each text, end token included.
        training: steps and rates.
        generator: draws the order.
    """
    optimizer, scheduler = build_optimizer(model, training)
    order = batches(len(texts), training, generator)
    for rows in tqdm(order, desc="language model", total=training.steps):
        ids, labels = _batch([prompts[i] for i in rows], [texts[i] for i in rows])
        loss: Tensor = model(input_ids=ids, labels=labels).loss
        apply_gradient(model, loss, optimizer, scheduler)
    return model.eval()


@torch.no_grad()
def cross_entropy(
    model: LlamaForCausalLM, prompts: Sequence[Tensor], texts: Sequence[Tensor]
) -> Tensor:
    """Return the total negative log-probability of each text given its prompt, [B] nats."""
    totals: list[Tensor] = []
    for start in range(0, len(texts), 256):
        rows = slice(start, start + 256)
        ids, labels = _batch(prompts[rows], texts[rows])
        logits: Tensor = model(input_ids=ids).logits[:, :-1]
        losses = nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[:, 1:], reduction="none", ignore_index=IGNORED
        )
        totals.append(losses.sum(dim=1))
    return torch.cat(totals)


@torch.no_grad()
def sample_responses(
    model: LlamaForCausalLM,
    prompts: Tensor,
    max_new_tokens: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Draw one response per prompt from the model itself (temperature 1, nothing cut off).

    Args:
        model: the language model.
        prompts: [B, P] ids; prompts of one length, so there is no padding.
        max_new_tokens: longest response.
        generator: draws the tokens.

    Returns:
        B vectors of ids, each up to and including its end token if it has one.
    """
    cache = DynamicCache(config=model.config)
    step, drawn = prompts, []
    is_open = torch.ones(len(prompts), dtype=torch.bool)
    lengths = torch.zeros(len(prompts), dtype=torch.long)
    while len(drawn) < max_new_tokens and is_open.any():
        logits: Tensor = model(input_ids=step, past_key_values=cache, use_cache=True).logits[:, -1]
        step = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)
        drawn.append(step)
        lengths += is_open
        is_open &= step[:, 0] != model.config.eos_token_id
    tokens = torch.cat(drawn, dim=1)
    return [row[:length] for row, length in zip(tokens, lengths.tolist(), strict=True)]


def build_optimizer(
    model: nn.Module, training: Training
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    """Return AdamW and its schedule: a short warm-up, then cosine decay to nothing."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=training.learning_rate,
        total_steps=training.steps + 1,
        pct_start=0.1,
        cycle_momentum=False,
    )
    return optimizer, scheduler


def apply_gradient(
    model: nn.Module,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.OneCycleLR,
) -> None:
    """Take one optimiser step down a loss, its gradient clipped at norm 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()


def batches(count: int, training: Training, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield the rows of each step: every epoch in a new order, over as many as steps need."""
    epochs = math.ceil(training.steps * training.batch_size / count)
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])
    for step in range(training.steps):
        yield order[step * training.batch_size :][: training.batch_size].tolist()


def _batch(prompts: Sequence[Tensor], texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    # Padding is on the right of a causal model and its labels are ignored, so its id is free.
    rows = [torch.cat(pair) for pair in zip(prompts, texts, strict=True)]
    ids = pad_sequence(rows, batch_first=True, padding_value=0)
    hidden = [torch.full_like(prompt, IGNORED) for prompt in prompts]
    targets = [torch.cat(pair) for pair in zip(hidden, texts, strict=True)]
    return ids, pad_sequence(targets, batch_first=True, padding_value=IGNORED)


def parameter_count(model: nn.Module) -> int:
    """Return the number of weights, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
