"""The small language model of the reviews task: its shape and its training.

The grammar that supplies the texts is in `grammar`; files are written by `assets`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_env.defaults import HORIZONS
from rlhf_env.tasks.pretraining import Training, draw_weights, fit, new_model, small_config
from rlhf_env.tasks.reviews.vocabulary import EOS, PAD, vocabulary

MAX_NEW_TOKENS = HORIZONS["reviews"]


def model_config() -> LlamaConfig:
    """Return the shape that the language model and the proxy's trunk share."""
    words = vocabulary()
    return small_config(len(words), words.index(EOS), words.index(PAD))


def new_language_model() -> LlamaForCausalLM:
    """Return a model whose weights are to be loaded or drawn; the global generator is untouched."""
    return new_model(model_config())


def train_language_model(
    prompts: Sequence[Tensor],
    texts: Sequence[Tensor],
    training: Training,
    generator: torch.Generator,
) -> LlamaForCausalLM:
    """Fit a new model to texts, by the mean cross-entropy of their tokens.

    Args:
        prompts: ids of the prompt before each text.
        texts: ids of each text, end token included.
        training: steps and rates.
        generator: draws weights and order.
    """
    model = new_language_model()
    draw_weights(model, generator)
    return fit(model, prompts, texts, training, generator)
