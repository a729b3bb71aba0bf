"""Export of an agent for other software: a Hugging Face model, or a peft adapter."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedModel

from agents.training.checkpoints.checkpoint_files import save_tensors
from agents.training.checkpoints.model_card import ExportedAgent, generation_config, model_card
from agents.training.lora import merged
from rlhf_env.extras import importing

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
CARD = "README.md"


def export_model(agent: ExportedAgent, folder: Path, figures: Mapping[str, float]) -> None:
    """Write the policy with its tokenizer as a folder that ``from_pretrained`` reads.

    Adapters are added to the weights; the value head is left out. ``generation_config.json`` lets
    ``generate`` draw as the agent does, and README.md says what it is. The folder appears only
    once it is complete.

    Args:
        agent: whose policy is a Hugging Face model.
        folder: new or empty.
        figures: measured ones, for README.md.

    Raises:
        ValueError: if the policy is another model, or the folder is taken.
    """
    has_adapter = agent.config.lora_rank is not None
    model = merged(agent.policy.model) if has_adapter else agent.policy.model
    plain = _hugging_face_model(model)

    def write(target: Path) -> None:
        plain.save_pretrained(target)
        generation_config(agent).save_pretrained(target)
        _save_tokenizer(agent, target)
        card = model_card(agent, figures)
        (target / CARD).write_text(card, encoding="utf-8")

    _write_folder(folder, write)


def export_adapter(agent: ExportedAgent, folder: Path, figures: Mapping[str, float]) -> None:
    """Write the adapter alone, with its tokenizer, as ``peft.PeftModel.from_pretrained`` reads it.

    Its base model is the task's reference.

    Args:
        agent: trained with ``lora_rank``.
        folder: new or empty.
        figures: measured ones, for README.md.

    Raises:
        ValueError: if the agent has no adapter, or the folder is taken.
    """
    if agent.config.lora_rank is None:
        raise ValueError(
            "adapter=True needs an agent with an adapter, got lora_rank = None; leave adapter out"
        )
    with importing("lora"):
        from peft import get_peft_model_state_dict

    model = agent.policy.model
    # The adapter's own settings, as they were injected.
    config = copy.deepcopy(cast(Any, model).peft_config["default"])
    config.base_model_name_or_path = getattr(model.config, "name_or_path", None) or None
    config.task_type = "CAUSAL_LM"
    config.inference_mode = True
    weights = get_peft_model_state_dict(model, state_dict=model.state_dict())
    prefixed = {f"base_model.model.{name}": value.contiguous() for name, value in weights.items()}

    def write(target: Path) -> None:
        config.save_pretrained(target)
        save_tensors(prefixed, target / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        generation_config(agent).save_pretrained(target)
        _save_tokenizer(agent, target)
        card = model_card(agent, figures, adapter=True)
        (target / CARD).write_text(card, encoding="utf-8")

    _write_folder(folder, write)


def _hugging_face_model(model: nn.Module) -> PreTrainedModel:
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"the policy must be a Hugging Face model to be exported, got {type(model).__name__}; "
            "save its state_dict instead"
        )
    if model.config.model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"the policy must be of a kind that transformers knows to be exported, got "
            f"{type(model).__name__}; save its state_dict instead"
        )
    return model


def _save_tokenizer(agent: ExportedAgent, folder: Path) -> None:
    tokenizer = agent.base.task.tokenizer
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder atomically: it gets its name only when it is complete."""
    is_taken = folder.is_symlink() or (
        any(folder.iterdir()) if folder.is_dir() else folder.exists()
    )
    if is_taken:
        raise ValueError(
            f"folder must be new or empty, got {str(folder)!r}, which is taken; name another"
        )
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ValueError(
            f"folder must be one that can be made, got {str(folder)!r}: {error.strerror}; "
            "name another"
        ) from error
    try:
        write(partial)
        os.replace(partial, folder)
    except SafetensorError as error:
        # What the library says of a full disk.
        raise OSError(f"cannot write {str(folder)!r}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
