"""The next tokens of each row through a small decoder of the Llama family, in few operations.

A small model's step takes as long as it has operations, whatever these compute. Here projections of
the same states are one product, a rotation is one product of complex numbers, a norm's weight is
part of the matrix that follows it, and what a layer adds is added by its product. States stand in
columns, so that few of them are multiplied by a matrix as it lies: little more than half of the
operations of the modules, for the same numbers up to rounding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention, silu
from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

from rlhf_env.engine.compat import is_modified, plain_llama, rotates_by_position, works
from rlhf_env.engine.fused.weights import (
    LayerShape,
    is_plain_decoder,
    joined,
    layer_weights,
    turn_,
    turns,
)
from rlhf_env.engine.matmul import add_times_columns_, linear, times_columns
from rlhf_env.engine.row_cache import RowCache

_FAMILY = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)
# What was found out about each model, and of which modules it was made then.
_IS_EXACT: WeakKeyDictionary[nn.Module, tuple[list[int], bool]] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Weight and bias of a layer's projections."""

    query_key_value: tuple[Tensor, Tensor | None]
    """The factor of attention's scores is in the part of queries."""
    output: tuple[Tensor, Tensor | None]
    gate_up: tuple[Tensor, Tensor | None]
    down: tuple[Tensor, Tensor | None]

    @classmethod
    def of(cls, layer: Any, shape: LayerShape) -> _Layer:
        weights = layer_weights(layer)
        weight, bias = weights.query_key_value
        is_query = torch.arange(len(weight), device=weight.device) < shape.heads * shape.head_dim
        factors = torch.where(is_query, shape.scaling, 1.0)
        return cls(
            query_key_value=(weight * factors[:, None], None if bias is None else bias * factors),
            output=weights.output,
            gate_up=joined((weights.gate, weights.up)),
            down=weights.down,
        )


class FusedDecoder:
    """The weights of a model as they are when it is made.

    Its keys are not those of the modules: a cache belongs to one of the two.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module) -> None:
        """Take a model for which `supports_fused_decode` holds."""
        self._trunk: Any = model.model
        self._shape = LayerShape.of(self._trunk)
        self._layers = [_Layer.of(layer, self._shape) for layer in self._trunk.layers]
        self._head: Tensor = model.lm_head.weight * self._trunk.norm.weight  # type: ignore[operator, union-attr]
        self._epsilon = self._head.new_tensor(self._shape.epsilon)
        self._turns = turns(self._trunk, self._head, self._head.new_empty(0, dtype=torch.int64))

    def __call__(self, tokens: Tensor, positions: Tensor, cache: RowCache) -> Tensor:
        """Return the logits after the last of some more tokens, [R, V].

        Args:
            tokens: [R, T] the tokens.
            positions: [R, T] their positions in their texts.
            cache: keys and values of the texts so far, prepared for this pass.
        """
        count, length = tokens.shape
        embedded = embedding(tokens.flatten(), self._trunk.embed_tokens.weight)
        by = self._turns_up_to(cache.span).index_select(0, positions.flatten())
        mask = None if cache.sees_all else cache.mask(embedded.dtype)
        if mask is not None and length == 1:
            mask = mask.expand(-1, self._shape.key_heads, -1, -1).flatten(0, 1)
        # [H, R T] from here on.
        hidden = embedded.t().contiguous()
        for number, layer in enumerate(self._layers):
            states = _product(self._normalized(hidden), *layer.query_key_value)
            heads = states.t().contiguous().view(count * length, -1, self._shape.head_dim)
            turn_(heads[:, : self._shape.turned], by)
            heads = heads.unflatten(0, (count, length)).transpose(1, 2)
            attended = self._attend(heads, mask, cache, number)
            _add_product_(hidden, attended.t(), *layer.output)
            both = _product(self._normalized(hidden), *layer.gate_up)
            gate, up = both.chunk(2)
            _add_product_(hidden, silu(gate).mul_(up), *layer.down)
        last = hidden.unflatten(1, (count, length))[..., -1]
        return linear(self._normalized(last).t(), self._head)

    def _normalized(self, hidden: Tensor) -> Tensor:
        """Return states in columns over their root mean square, [H, M]."""
        squares = torch.linalg.vecdot(hidden, hidden, dim=0)
        return hidden * torch.add(self._epsilon, squares, alpha=1.0 / len(hidden)).rsqrt_()

    def _turns_up_to(self, span: int) -> Tensor:
        """Return what turns the heads at each of the first positions, ``span`` or more of them."""
        if len(self._turns) < span:
            # Twice as many as before: there are few such steps.
            positions = torch.arange(max(span, 2 * len(self._turns)), device=self._head.device)
            self._turns = turns(self._trunk, self._head, positions)
        return self._turns

    def _attend(self, heads: Tensor, mask: Tensor | None, cache: RowCache, number: int) -> Tensor:
        """Return what the queries of a layer attend to, [R T, heads D].

        Args:
            heads: [R, heads + 2 key heads, T, D].
            mask: [R, 1, T, S]; for one token of each row [R key heads, 1, S], or None.
            cache: takes the keys and values.
            number: the layer's.
        """
        shape, (count, _, length, _) = self._shape, heads.shape
        queries = heads[:, : shape.heads]
        keys, values = cache.update_pair(heads[:, shape.heads :], number)
        if length == 1:
            # The query heads that share a key head are its tokens.
            queries = queries.reshape(count * shape.key_heads, -1, shape.head_dim)
            pair = keys.flatten(0, 1), values.flatten(0, 1)
            return _attend_one(queries, *pair, mask).view(count, -1)
        attended = scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            scale=1.0,
            enable_gqa=shape.heads != shape.key_heads,
        )
        return attended.transpose(1, 2).reshape(count * length, -1)


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
    return (
        not is_modified(model)
        and rotates_by_position(model.config)
        and type(model.lm_head) is nn.Linear
        and not is_modified(model.lm_head)
        and model.lm_head.weight.dtype == torch.float32
        and is_plain_decoder(model.model)
    )


@torch.inference_mode()
def _is_exact(model: Any) -> bool:
    """Return whether two tokens and then one more of two texts get the model's numbers."""
    device = model.device
    tokens = torch.tensor([[0, 1, 1], [1, 0, 0]], device=device)
    expected = model(input_ids=tokens, use_cache=False).logits[:, -1]
    rows, cache = torch.arange(2, device=device), RowCache(2, 3)
    found = torch.zeros_like(expected)
    try:
        decoder = FusedDecoder(model)
        for part in (slice(0, 2), slice(2, 3)):
            positions = torch.arange(3, device=device)[part].expand(2, -1)
            is_new = torch.ones_like(positions, dtype=torch.bool)
            cache.prepare(rows, positions, is_new)
            found = decoder(tokens[:, part], positions, cache)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def _attend_one(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return what a few queries of many texts attend to, [B, G, D].

    PyTorch's kernel cuts texts into blocks, which costs more than it saves here.

    Args:
        queries: [B, G, D], scaled.
        keys: [B, S, D].
        values: [B, S, D].
        mask: [B, 1, S] added to the scores; None hides nothing.
    """
    keys = keys.transpose(1, 2)
    scores = torch.bmm(queries, keys) if mask is None else torch.baddbmm(mask, queries, keys)
    return torch.bmm(scores.softmax(dim=-1), values)


def _product(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return weight · states + bias, [N, M], of states in columns [K, M]."""
    product = times_columns(weight, states)
    return product if bias is None else product.add_(bias[:, None])


def _add_product_(hidden: Tensor, states: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Add weight · states + bias to the states in columns."""
    add_times_columns_(hidden, weight, states)
    if bias is not None:
        hidden.add_(bias[:, None])
