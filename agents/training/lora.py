"""Low-rank adapters (arXiv:2106.09685) over weights that the policy shares with the reference.

The policy is the reference's own weights with an adapter on top, so that the reference is the
policy with its adapter switched off, without a second copy in memory and without a switch.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from transformers import PreTrainedModel

from rlhf_env.engine.compat import is_transposed_linear
from rlhf_env.extras import importing


def adapted(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> nn.Module:
    """Return a model that shares a model's frozen weights and has a trainable adapter.

    The adapter is on all linear layers but the output embedding; at first it changes nothing.

    Args:
        model: a Hugging Face language model; it is not changed.
        rank: of each adapter.
        alpha: the adapter's output is scaled by alpha / rank.
        seed: of the adapter's first factor; the second is zero.

    Raises:
        ValueError: if the model has no linear layer to adapt.
    """
    with importing("lora"):
        from peft import LoraConfig, inject_adapter_in_model

    layers = {type(module) for module in model.base_model.modules()}
    is_transposed = any(map(is_transposed_linear, layers))
    if nn.Linear not in layers and not is_transposed:
        raise ValueError(
            f"lora_rank needs a model with linear layers, got {type(model).__name__} without; "
            "leave lora_rank out"
        )
    # Copied in structure only: every copy of a weight is a view of the weight itself.
    views = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    views |= {id(buffer): buffer for buffer in model.buffers()}
    shell = copy.deepcopy(model, memo=views)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules="all-linear",
        lora_dropout=0.0,
        fan_in_fan_out=is_transposed,
    )
    made = inject_adapter_in_model(config, shell)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_A" in name:
            # As peft does it, but from a generator of our own.
            first = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(first)
    return made


def merged(model: nn.Module) -> nn.Module:
    """Return an ordinary model with the adapter added to the weights, to save or to share.

    Args:
        model: what `adapted` returned; it is not changed.
    """
    with importing("lora"):
        from peft.tuners.lora import LoraLayer

    plain = copy.deepcopy(model)
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, own = name.rpartition(".")
            setattr(plain.get_submodule(parent), own, layer.get_base_layer())
    return plain
