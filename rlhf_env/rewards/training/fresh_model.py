"""A small decoder that has learned nothing yet, with a vocabulary made from given texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from rlhf_env.checks import check_count, check_positive

if TYPE_CHECKING:
    from transformers import LlamaModel, PreTrainedTokenizerFast

_SPECIAL = _PAD, _START, _END = "<pad>", "<s>", "</s>"


@dataclass(frozen=True, kw_only=True)
class FreshModel:
    """The shape of a decoder without pretraining."""

    vocab_size: int = 4000
    """Most tokens; byte pairs are merged until there are as many."""
    hidden_size: int = 64
    """Width; a multiple of 8, so that four heads can turn pairs of numbers."""
    layers: int = 2
    """Number of layers."""
    window: int = 2048
    """Most tokens of a prompt with its response."""
    initial_spread: float = 0.05
    """Standard deviation of the first weights."""

    def __post_init__(self) -> None:
        """Refuse a shape that cannot be."""
        for name in ("hidden_size", "layers", "window"):
            check_count(name, getattr(self, name))
        check_count("vocab_size", self.vocab_size, minimum=300)
        check_positive("initial_spread", self.initial_spread)
        if self.hidden_size % 8:
            raise ValueError(f"hidden_size must be a multiple of 8, got {self.hidden_size}")

    def make(self, texts: Iterable[str], seed: int) -> tuple[LlamaModel, PreTrainedTokenizerFast]:
        """Return a trunk with random weights, and a byte-pair tokenizer of the texts.

        Args:
            texts: what the tokenizer is made for; it can spell any other text too.
            seed: draws the weights.
        """
        from transformers import LlamaConfig, LlamaModel

        tokenizer = byte_pair_tokenizer(texts, self.vocab_size)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=2 * self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=4,
            max_position_embeddings=self.window,
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
                    parameter.normal_(0.0, self.initial_spread, generator=generator)
        return model, tokenizer


def byte_pair_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level byte-pair tokenizer that puts a start token before a text.

    Args:
        texts: whose frequent pairs are merged.
        vocab_size: most tokens.
    """
    from transformers import PreTrainedTokenizerFast

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
