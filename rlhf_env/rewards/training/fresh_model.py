"""A small decoder that has learned nothing yet, with a vocabulary made from given texts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from rlhf_env.rewards.training.settings import FreshModel

_SPECIAL = _PAD, _START, _END = "<pad>", "<s>", "</s>"


def make_fresh_model(
    shape: FreshModel, texts: Iterable[str], seed: int
) -> tuple[LlamaModel, PreTrainedTokenizerFast]:
    """Return a trunk with random weights, and a byte-pair tokenizer of the texts.

    Args:
        shape: vocabulary, width, layers and window.
        texts: what the tokenizer is made for; it can spell any other text too.
        seed: draws the weights.
    """
    tokenizer = byte_pair_tokenizer(texts, shape.vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=2 * shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=4,
        max_position_embeddings=shape.window,
        bos_token_id=_SPECIAL.index(_START),
        eos_token_id=_SPECIAL.index(_END),
        pad_token_id=_SPECIAL.index(_PAD),
    )
    # The weights that a constructor draws are not kept; the global generator stays untouched.
    with torch.random.fork_rng(devices=[]):
        model = LlamaModel(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, shape.initial_spread, generator=generator)
    return model, tokenizer


def byte_pair_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level byte-pair tokenizer that puts a start token before a text.

    Args:
        texts: whose frequent pairs are merged.
        vocab_size: most tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A", special_tokens=[(_START, tokenizer.token_to_id(_START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_START, eos_token=_END, pad_token=_PAD
    )
