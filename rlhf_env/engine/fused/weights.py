"""The weights of a decoder of the Llama family as few matrices.

What multiplies the same states stands in one matrix, and the weight of a norm is multiplied into
the matrix that follows it. The two halves of a head, which a rotary embedding turns into each
other, are interleaved, so that a turn is one product of complex numbers; queries and keys are
permuted alike, which leaves their products as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaModel, MistralModel, Qwen2Model

from rlhf_env.engine.compat import (
    attention_implementation,
    is_modified,
    rms_norm_epsilon,
    rotary_angles,
)

_FAMILY = (LlamaModel, MistralModel, Qwen2Model)
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# The matrices are copies; in a larger model their products are what takes time.
_MOST_PARAMETERS = 2**26


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """Weight [N, K] and bias [N] of the projections of a layer."""

    query_key_value: tuple[Tensor, Tensor | None]
    output: tuple[Tensor, Tensor | None]
    gate: tuple[Tensor, Tensor | None]
    up: tuple[Tensor, Tensor | None]
    down: tuple[Tensor, Tensor | None]

    @property
    def flat(self) -> tuple[Tensor | None, ...]:
        """All of them, in this order."""
        return (*self.query_key_value, *self.output, *self.gate, *self.up, *self.down)


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """What the layers of a decoder have in common."""

    heads: int
    """Query heads."""
    key_heads: int
    """Heads of keys, and of values."""
    head_dim: int
    """D, width of a head."""
    scaling: float
    """Factor of the products of queries and keys."""
    epsilon: float
    """What a norm adds to the mean square."""

    @classmethod
    def of(cls, trunk: Any) -> LayerShape:
        """Return the shape of a trunk of the family."""
        layer, config = trunk.layers[0], trunk.config
        return cls(
            heads=config.num_attention_heads,
            key_heads=config.num_key_value_heads,
            head_dim=layer.self_attn.head_dim,
            scaling=layer.self_attn.scaling,
            epsilon=rms_norm_epsilon(layer.input_layernorm),
        )

    @property
    def turned(self) -> int:
        """How many heads a rotary embedding turns: those of queries and of keys."""
        return self.heads + self.key_heads


def is_plain_decoder(trunk: nn.Module) -> bool:
    """Return whether a trunk is an unmodified (no hooks) and small one of the family."""
    decoder: Any = trunk
    parameters = list(trunk.parameters())
    return (
        type(trunk) in _FAMILY
        and attention_implementation(decoder.config) == "sdpa"
        and decoder.config.hidden_act == "silu"
        and all(p.dtype == torch.float32 for p in parameters)
        and sum(p.numel() for p in parameters) <= _MOST_PARAMETERS
        and all(
            type(module) is nn.Linear
            for name, module in trunk.named_modules()
            if name.rpartition(".")[2] in _PROJECTIONS
        )
        and not any(is_modified(module) for module in trunk.modules())
    )


def layer_weights(layer: Any) -> LayerWeights:
    """Return the matrices of a layer, with a gradient where its weights have one."""
    attention, mlp = layer.self_attn, layer.mlp
    head_dim: int = attention.head_dim
    together = [_interleaved(attention.q_proj, head_dim), _interleaved(attention.k_proj, head_dim)]
    together.append((attention.v_proj.weight, attention.v_proj.bias))
    norm: Tensor = layer.post_attention_layernorm.weight
    weight, bias = joined(together)
    return LayerWeights(
        query_key_value=(weight * layer.input_layernorm.weight, bias),
        output=(attention.o_proj.weight, attention.o_proj.bias),
        gate=(mlp.gate_proj.weight * norm, mlp.gate_proj.bias),
        up=(mlp.up_proj.weight * norm, mlp.up_proj.bias),
        down=(mlp.down_proj.weight, mlp.down_proj.bias),
    )


def turns(trunk: Any, hidden: Tensor, positions: Tensor) -> Tensor:
    """Return the complex numbers that turn queries and keys, [T, 1, D / 2].

    Args:
        trunk: of the family.
        hidden: gives device and type.
        positions: [T].
    """
    cos, sin = rotary_angles(trunk, hidden[None], positions[None])
    half = cos.shape[-1] // 2
    return torch.complex(cos[0, :, None, :half], sin[0, :, None, :half])


def turn_(states: Tensor, by: Tensor) -> None:
    """Turn heads [T, heads, D] in place by complex numbers [T, 1, D / 2]."""
    torch.view_as_complex(states.unflatten(2, (-1, 2))).mul_(by)


def _interleaved(projection: nn.Linear, head_dim: int) -> tuple[Tensor, Tensor | None]:
    def mixed(rows: Tensor) -> Tensor:
        return rows.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)

    bias: Tensor | None = projection.bias
    return mixed(projection.weight), None if bias is None else mixed(bias)


def joined(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of several projections of the same states as one."""
    biases = [bias for _, bias in parts if bias is not None]
    return torch.cat([weight for weight, _ in parts]), torch.cat(biases) if biases else None
