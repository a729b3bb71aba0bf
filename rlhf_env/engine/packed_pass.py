"""Finished texts in one pass of a decoder: no padding is computed, and a shared prompt only once.

The texts are in a single row, laid out by `rlhf_env.engine.packing`. Everything in a decoder but
attention treats a token by itself; attention is given to each text alone. So an unmodified Hugging
Face model is run through this module's own attention function, which is registered under its own
name and selected by a clone of the model.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from rlhf_env.engine.compat import (
    attention_implementation,
    looks_up_attention,
    plain_llama,
    rotates_by_position,
    works,
)
from rlhf_env.engine.flex.trunk import flex_hidden, supports_flex
from rlhf_env.engine.fused.trunk import fused_hidden, supports_fused_pass
from rlhf_env.engine.module_view import clone_modules
from rlhf_env.engine.packing import Packing, Suffix
from rlhf_env.engine.row_cache import attention_window

_NAME = "rlhf_env_packed"
_SDPA = AttentionInterface()["sdpa"]
# PyTorch's attention kernel for CPUs takes the exponentials of so many scores at once, and those of
# the rest one by one.
_SCORES_AT_ONCE = 16
# What was found out about each trunk.
_PACKS_EXACTLY: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def hidden_at(
    trunk: nn.Module,
    tokens: Tensor,
    wanted: Tensor,
    *,
    shares_prefixes: bool = True,
    recomputes_layers: bool = False,
    may_flex: bool = True,
) -> Tensor:
    """Return a trunk's output at some positions, [M, H], row by row, without any padding.

    Each text ends at its last wanted position. A trunk whose attention cannot be kept within a text
    is run padded, with the same numbers up to rounding.

    Args:
        trunk: a causal decoder without its output embedding.
        tokens: [B, L] int64, padded on the right.
        wanted: [B, L] bool, at least one in every row.
        shares_prefixes: compute a prompt once for all its responses.
        recomputes_layers: trade time for memory where a gradient is wanted.
        may_flex: let texts on a GPU attend by flex attention.
    """
    if _can_pack(trunk, tokens.shape[1]):
        if supports_fused_pass(trunk):
            packing = Packing.of(tokens, wanted, shares_prefixes, _SCORES_AT_ONCE)
            places = packing.offsets[:, : tokens.shape[1]][wanted]
            return fused_hidden(trunk, packing, places, recomputes_layers=recomputes_layers)
        packing = Packing.of(tokens, wanted, shares_prefixes)
        if may_flex and not packing.is_batch and supports_flex(trunk):
            hidden = flex_hidden(trunk, packing, wanted, recomputes_layers=recomputes_layers)
            if hidden is not None:
                return hidden
        trunk = clone_modules(trunk, _NAME, recomputes_layers)
        return _packed_hidden(trunk, packing, tokens, wanted)
    if recomputes_layers:
        trunk = clone_modules(trunk, recomputes_layers=True)
    return trunk(input_ids=tokens, use_cache=False).last_hidden_state[wanted]


def _can_pack(trunk: nn.Module, width: int) -> bool:
    if not isinstance(trunk, PreTrainedModel) or not _may_pack(trunk, width):
        return False
    if trunk not in _PACKS_EXACTLY:
        _PACKS_EXACTLY[trunk] = _hands_packing_on() and _packs_exactly(trunk)
    return _PACKS_EXACTLY[trunk]


@functools.cache
def _hands_packing_on() -> bool:
    """Return whether a plain model of the installed transformers can be packed."""
    return works(
        "the packed pass", "padding is computed", lambda: _packs_exactly(plain_llama().model)
    )


def _may_pack(trunk: PreTrainedModel, width: int) -> bool:
    """Return whether texts of up to ``width`` tokens may be packed, as far as a trunk tells.

    It must select scaled-dot-product attention by name, use the given positions, and every
    token must see its whole text.
    """
    config = trunk.config
    window = attention_window(config)
    return (
        looks_up_attention(trunk)
        and attention_implementation(config) == "sdpa"
        and not config.sub_configs
        and rotates_by_position(config)
        and (window is None or window >= width)
        and "position_ids" in inspect.signature(trunk.forward).parameters
        # Code put in the place of a method would run the modules that it was made for.
        and not any("forward" in module.__dict__ for module in trunk.modules())
    )


@torch.no_grad()
def _packs_exactly(trunk: PreTrainedModel) -> bool:
    """Return whether packed texts get the numbers that they get by themselves."""
    # Two of the texts share their first two tokens; all lengths differ.
    tokens = torch.tensor([[0, 1, 0, 0, 0], [1, 1, 0, 1, 0], [0, 1, 1, 0, 1]], device=trunk.device)
    columns = torch.arange(5, device=trunk.device)
    first, last = torch.tensor([[1, 0, 1], [2, 3, 4]], device=trunk.device)[..., None]
    wanted = (columns >= first) & (columns <= last)
    expected = trunk(input_ids=tokens, use_cache=False).last_hidden_state[wanted]
    try:
        packing = Packing.of(tokens, wanted)
        found = _packed_hidden(clone_modules(trunk, _NAME), packing, tokens, wanted)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False
    tolerance = torch.finfo(expected.dtype).eps ** 0.5
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def _packed_hidden(trunk: nn.Module, packing: Packing, tokens: Tensor, wanted: Tensor) -> Tensor:
    """Return what `hidden_at` does from a clone that lets packed texts attend apart."""
    if packing.is_batch:
        # Nothing to take apart in every layer.
        length, _ = packing.prefixes[0]
        output = trunk(input_ids=tokens[:, :length], use_cache=False)
        return output.last_hidden_state[wanted[:, :length]]
    output = trunk(
        input_ids=packing.tokens[None],
        position_ids=packing.positions[None],
        use_cache=False,
        packing=packing,
    )
    return output.last_hidden_state[0][packing.offsets[wanted]]


def _attend_apart(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend within each text; texts of one length together.

    Args:
        module: the attention layer.
        query: [1, heads, T, D].
        key: [1, key heads, T, D].
        value: [1, key heads, T, D].
        attention_mask: none: there is no padding, and attention is causal.
        packing: where the texts are; None where every row is one text.
        **settings: those of `transformers`' own scaled-dot-product attention, which does the work.

    Returns:
        [1, T, heads, D], and no attention weights.
    """
    if packing is None:
        return _SDPA(module, query, key, value, None, **settings)
    prefixes, suffixes = packing.prefixes, packing.suffixes
    # Split once: each of many slices would have a gradient as long as the whole row.
    shapes = [(count, length) for length, count in prefixes]
    shapes += [(suffix.count, suffix.length) for suffix in suffixes]
    sizes = [count * length for count, length in shapes]
    states = (each[0].split(sizes, dim=1) for each in (query, key, value))
    texts = [
        [each.unflatten(1, shape).transpose(0, 1) for each in block]
        for shape, *block in zip(shapes, *states, strict=True)
    ]
    parts = [_SDPA(module, *block, None, **settings)[0] for block in texts[: len(prefixes)]]
    if suffixes:
        prefix_states = [
            pair for _, *both in texts[: len(prefixes)] for pair in zip(*both, strict=True)
        ]
        for suffix, (queries, *own) in zip(suffixes, texts[len(prefixes) :], strict=True):
            seen = [
                torch.cat([before.expand(suffix.count, -1, -1, -1), after], dim=2)
                for before, after in zip(prefix_states[suffix.prefix], own, strict=True)
            ]
            parts.append(_SDPA(module, queries, *seen, _visible(suffix, seen[0]), **settings)[0])
    return torch.cat([part.flatten(0, 1) for part in parts])[None], None


def _visible(suffix: Suffix, keys: Tensor) -> Tensor | None:
    """Return which of the keys [.., .., S, ..] each token of a suffix sees, [length, S] bool."""
    if suffix.length == 1:
        return None
    size, length = keys.shape[2], suffix.length
    return torch.ones(length, size, dtype=torch.bool, device=keys.device).tril_(size - length)


AttentionInterface.register(_NAME, _attend_apart)
