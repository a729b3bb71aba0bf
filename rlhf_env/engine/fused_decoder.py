"""One more token of each row through a small decoder of the Llama family, in few operations.

A small model's step takes as long as it has operations, whatever these compute. Here projections of
the same states are one product, queries and keys are rotated together, and a norm is one operation:
a third fewer than in the modules, for the same numbers up to rounding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, rms_norm, scaled_dot_product_attention, silu
from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

from rlhf_env.engine.compat import (
    attention_implementation,
    is_modified,
    plain_llama,
    rms_norm_epsilon,
    rotary_angles,
    works,
)
from rlhf_env.engine.matmul import linear
from rlhf_env.engine.row_cache import RowCache

_FAMILY = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)
# Projections are put together in a copy; in a larger model the operations are what takes time.
_MOST_PARAMETERS = 2**26
# What was found out about each model, and of which modules it was made then.
_IS_EXACT: WeakKeyDictionary[nn.Module, tuple[list[int], bool]] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Weights of a layer; of the first and third projection, those of several side by side."""

    first_norm: nn.Module
    query_key_value: tuple[Tensor, Tensor | None]
    output: tuple[Tensor, Tensor | None]
    second_norm: nn.Module
    gate_up: tuple[Tensor, Tensor | None]
    down: tuple[Tensor, Tensor | None]


class FusedDecoder:
    """The weights of a model as they are when it is made."""

    def __init__(self, model: nn.Module) -> None:
        """Take a model for which `supports_fused_decode` holds."""
        self._model: Any = model
        attention = self._model.model.layers[0].self_attn
        self._head_dim: int = attention.head_dim
        self._scaling: float = attention.scaling
        self._key_heads: int = model.config.num_key_value_heads  # type: ignore[union-attr]
        self._layers = [_taken(layer) for layer in self._model.model.layers]

    def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor, cache: RowCache) -> Tensor:
        """Return the logits after one more token, [R, V].

        Args:
            tokens: [R] the tokens.
            positions: [R] their positions in their texts.
            mask: what ``cache.begin`` returned, [R, 1, 1, S].
            cache: keys and values of the texts so far, prepared for this pass.
        """
        trunk = self._model.model
        hidden = embedding(tokens, trunk.embed_tokens.weight)
        cos, sin = rotary_angles(trunk, hidden[:, None], positions[:, None])
        half = self._head_dim // 2
        # Rotated halves with the sign that belongs to them: (-x2, x1) sin = (x2, x1) (-sin, sin).
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        for number, layer in enumerate(self._layers):
            states = linear(_norm(hidden, layer.first_norm), *layer.query_key_value)
            heads = states.view(len(states), -1, self._head_dim)
            turned = heads[:, : -self._key_heads]
            turned = torch.addcmul(turned * cos, turned.roll(half, dims=-1), sin)
            queries = turned[:, : -self._key_heads]
            keys, values = cache.update(
                turned[:, -self._key_heads :, None], heads[:, -self._key_heads :, None], number
            )
            # The query heads that share a key head take the place of several tokens.
            queries = queries.unflatten(1, (self._key_heads, -1))
            attended = scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, scale=self._scaling
            )
            hidden = hidden + linear(attended.flatten(1), *layer.output)
            gate, up = linear(_norm(hidden, layer.second_norm), *layer.gate_up).chunk(2, dim=-1)
            hidden = hidden + linear(silu(gate) * up, *layer.down)
        return linear(_norm(hidden, trunk.norm), self._model.lm_head.weight)


def supports_fused_decode(model: nn.Module) -> bool:
    """Return whether `FusedDecoder` gives the model's numbers."""
    if type(model) not in _FAMILY or not _is_plain(model) or not _knows_family():
        return False
    modules = [id(module) for module in model.modules()]
    if model not in _IS_EXACT or _IS_EXACT[model][0] != modules:
        _IS_EXACT[model] = modules, _is_exact(model)
    return _IS_EXACT[model][1]


@functools.cache
def _knows_family() -> bool:
    """Return whether the plain Llama of the installed transformers is built as expected."""
    return works("fused decode", "a step runs the modules", lambda: _is_exact(plain_llama()))


def _is_plain(model: Any) -> bool:
    """Return whether a model is unmodified (no hooks) and small enough to benefit."""
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return (
        attention_implementation(model.config) == "sdpa"
        and model.config.hidden_act == "silu"
        and all(p.dtype == torch.float32 for p in model.parameters())
        and sum(p.numel() for p in model.parameters()) <= _MOST_PARAMETERS
        and all(
            type(module) is nn.Linear
            for name, module in model.named_modules()
            if name.rpartition(".")[2] in (*projections, "lm_head")
        )
        and not any(is_modified(module) for module in model.modules())
    )


@torch.inference_mode()
def _is_exact(model: Any) -> bool:
    device, tokens = model.device, torch.tensor([[0, 1, 1], [1, 0, 0]], device=model.device)
    expected = model(input_ids=tokens, use_cache=False).logits[:, -1]
    rows, cache = torch.arange(2, device=device), RowCache(2, 3)
    is_new = torch.ones((2, 1), dtype=torch.bool, device=device)
    found = torch.zeros_like(expected)
    try:
        decoder = FusedDecoder(model)
        for step in range(3):
            positions = torch.full((2, 1), step, device=device)
            mask = cache.begin(rows, positions, is_new, torch.float32)
            found = decoder(tokens[:, step], positions[:, 0], mask, cache)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def _taken(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        first_norm=layer.input_layernorm,
        query_key_value=_together(attention.q_proj, attention.k_proj, attention.v_proj),
        output=_together(attention.o_proj),
        second_norm=layer.post_attention_layernorm,
        gate_up=_together(mlp.gate_proj, mlp.up_proj),
        down=_together(mlp.down_proj),
    )


def _together(*projections: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of the projections as one."""
    if len(projections) == 1:
        return projections[0].weight, projections[0].bias
    weights: list[Tensor] = [projection.weight for projection in projections]
    biases: list[Tensor] = [p.bias for p in projections if p.bias is not None]
    return torch.cat(weights), torch.cat(biases) if biases else None


def _norm(hidden: Tensor, norm: Any) -> Tensor:
    return rms_norm(hidden, norm.weight.shape, norm.weight, rms_norm_epsilon(norm))
