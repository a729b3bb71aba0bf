"""Loading a model from a folder or a hub, or saying in one sentence why it cannot be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import safe_open
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Seconds to wait for the hub before its local cache has to do.
_HUB_TIMEOUT = 3.0

_Loaded = TypeVar("_Loaded")


class ModelError(ValueError):
    """A model cannot be loaded or used."""


class ContextWindowError(ValueError):
    """Texts would be longer than a model can read."""


def load_language_model(
    path: str | Path, dtype: torch.dtype = torch.float32, max_tokens: int = 0
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Return a decoder-only language model in eval mode, and its tokenizer.

    Only safetensors weights are read and no code from the model's repository is run.

    Args:
        path: a local folder, or a hub id such as ``"org/model"``.
        dtype: the weights' type.
        max_tokens: how long texts will be; a smaller context window is an error.

    Raises:
        ModelError: if there is no such model, it is not a decoder-only language model, or its
            weights are damaged, incomplete or stored in another format.
        ContextWindowError: if it cannot read as many tokens.
    """

    def load(source: str, offline: bool) -> tuple[nn.Module, PreTrainedTokenizerBase]:
        # It brings in all of transformers, which a model that is not there does not need.
        from rlhf_env.engine.language_model import LanguageModel

        config = _config(source, offline)
        _check_decoder(config, max_tokens)
        model, tokenizer = _model_and_tokenizer(
            source, "AutoModelForCausalLM", config, dtype, offline
        )
        # Stepping and scoring make the same checks; here they come first.
        LanguageModel(model, len(tokenizer))
        return model, tokenizer

    return _loaded(path, "language model", load)


def load_tokenizer(path: str | Path, max_tokens: int = 0) -> PreTrainedTokenizerBase:
    """Return a decoder-only language model's tokenizer, having checked all but its weights.

    Of weights in a folder only the headers are read, which tell whether a file is whole; so what
    is wrong with a model is found before it takes any time or memory.

    Args:
        path: a local folder, or a hub id such as ``"org/model"``.
        max_tokens: how long texts will be; a smaller context window is an error.

    Raises:
        ModelError: as `load_language_model` does.
        ContextWindowError: likewise.
    """

    def load(source: str, offline: bool) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        config = _config(source, offline)
        _check_decoder(config, max_tokens)
        _check_layers(source, config)
        return AutoTokenizer.from_pretrained(
            source, local_files_only=offline, trust_remote_code=False
        )

    return _loaded(path, "language model", load)


def load_classifier(
    path: str | Path, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Return a sequence classifier in eval mode, and its tokenizer, under the same rules.

    Args:
        path: a local folder, or a hub id such as ``"org/model"``.
        dtype: the weights' type.

    Raises:
        ModelError: if there is no such model, it has no trained classification head, or its
            weights are damaged, incomplete or stored in another format.
    """

    def load(source: str, offline: bool) -> tuple[nn.Module, PreTrainedTokenizerBase]:
        kind = "AutoModelForSequenceClassification"
        return _model_and_tokenizer(source, kind, _config(source, offline), dtype, offline)

    return _loaded(path, "classifier", load)


def _loaded(path: str | Path, what: str, load: Callable[[str, bool], _Loaded]) -> _Loaded:
    """Return what ``load(source, offline)`` does, or say in one sentence why it cannot."""
    name = str(path)
    source = str(Path(name).expanduser())
    is_folder = Path(source).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    if is_folder and not (Path(source) / "config.json").is_file():
        raise ModelError(
            f"{what} must be a folder with a config.json or a hub id, got {name!r}, "
            f"which {'holds none' if Path(source).is_dir() else 'is not a folder'}"
        )
    if is_folder and (Path(source) / "policy.safetensors").is_file():
        raise ModelError(
            f"{what} {name!r} is a checkpoint of an agent, not a model folder; write one with "
            "agent.export(folder) or scripts/export.py"
        )
    if is_folder and not any(Path(source).glob("*.safetensors")):
        raise ModelError(
            f"{what} {name!r} has no safetensors weights, and no other format is read; "
            "convert it with model.save_pretrained() in a process that trusts it"
        )
    try:
        cached = None if is_folder else _cached_folder(name)
        return load(cached or source, is_folder or cached is not None)
    except ContextWindowError:
        # The message is about the arguments, not about the model.
        raise
    except Exception as error:
        # The loader raises many kinds (OSError, KeyError, SafetensorError, hub errors); the
        # caller needs one sentence about the model, and the cause stays chained.
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"cannot load the {what} {name!r}: {reason}") from error


def _config(source: str, offline: bool) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source, local_files_only=offline, trust_remote_code=False)


def _check_decoder(config: Any, max_tokens: int) -> None:
    if config.is_encoder_decoder:
        raise ValueError("it is not a decoder-only language model but encoder and decoder")
    window = getattr(config, "max_position_embeddings", None)
    if window is not None and max_tokens > window:
        raise ContextWindowError(
            "max_prompt_tokens + max_new_tokens must be at most the model's context window of "
            f"{window}, got {max_tokens} in all; lower one of them"
        )


def _check_layers(source: str, config: Any) -> None:
    """Refuse more layers than a folder's weights can hold, before memory is taken for them.

    Only the headers of the weights are read, which also tell whether a file is whole.
    """
    count = 0
    for weights in sorted(Path(source).glob("*.safetensors")):
        with safe_open(weights, framework="pt") as file:
            count += len(file.keys())
    layers = getattr(config, "num_hidden_layers", None)
    if count and isinstance(layers, int) and layers > count:
        raise ValueError(
            f"its config.json asks for {layers} layers, but its weights hold {count} tensors"
        )


def _model_and_tokenizer(
    source: str, kind: str, config: Any, dtype: torch.dtype, offline: bool
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    import transformers

    where = {"local_files_only": offline, "trust_remote_code": False}
    weights = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    _check_layers(source, config)
    model, found = getattr(transformers, kind).from_pretrained(
        source, config=config, **weights, **where
    )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"its weights lack {', '.join(missing[:5])} ({len(missing)} in all)")
    if extra := sorted(found["unexpected_keys"]):
        warnings.warn(
            f"{source!r} holds weights that {type(model).__name__} does not use: "
            f"{', '.join(extra[:5])} ({len(extra)} in all)",
            stacklevel=5,
        )
    return model.eval(), transformers.AutoTokenizer.from_pretrained(source, **where)


def _cached_folder(name: str) -> str | None:
    """Return where the cache holds a model, if the hub cannot be reached; None if it can.

    The loader itself would try again and again for half a minute, and even with a cached model it
    asks the hub for more files, unless it is given a folder.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_HUB_TIMEOUT)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise ValueError("no local folder and no Hub model of that name") from error
    except Exception as error:
        # Offline mode, no network, a proxy that refuses: every HTTP library has its own errors,
        # and another version of the hub's client brings another library.
        config = try_to_load_from_cache(name, "config.json")
        if not isinstance(config, str):
            raise ValueError(
                "no local folder of that name, the Hub cannot be reached, and the cache does not "
                "hold it"
            ) from error
        return str(Path(config).parent)
    return None
