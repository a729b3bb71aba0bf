"""Loading a language model from a folder or a hub, or saying in one sentence why it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_language_model(
    path: str | Path, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Return a decoder-only language model in eval mode, and its tokenizer.

    Only safetensors weights are read and no code from the model's repository is run.

    Args:
        path: a local folder, or a hub id such as ``"org/model"``.
        dtype: the weights' type.

    Raises:
        ValueError: if there is no such model, it is no decoder-only language model, or its
            weights are damaged or stored in another format.
    """
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    name = str(path)
    looks_local = Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_local and not (Path(name).expanduser() / "config.json").is_file():
        raise ValueError(
            f"model must be a folder with a config.json or a hub id, got {name!r}, "
            f"which {'holds none' if Path(name).is_dir() else 'is no folder'}"
        )
    source = str(Path(name).expanduser()) if looks_local else name
    try:
        config = AutoConfig.from_pretrained(source)
        if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or (
            config.is_encoder_decoder
        ):
            raise ValueError("it is not a decoder-only language model")
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:
        # The loader raises many kinds (OSError, KeyError, SafetensorError, hub errors); whoever
        # called needs one sentence about the model, and the cause stays chained.
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"cannot load the language model {name!r}: {reason}") from error
    return model.eval(), tokenizer
