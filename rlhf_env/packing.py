"""Finished texts of different lengths in one pass of a decoder, and no padding computed.

The texts stand one behind the other in a single row. Everything in a decoder but attention treats
a token by itself; attention is given to each text alone. So an unmodified Hugging Face model is
run through an attention function of this module's, which is registered under a name of its own and
asked for by a twin of the model: a second tree of modules around the same weights.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from rlhf_env.row_cache import attention_window

_NAME = "rlhf_env_packed"
_SDPA = AttentionInterface()["sdpa"]
# Rotary embeddings whose angles depend on the longest text of the batch.
_ROPE_OF_THE_BATCH = ("dynamic", "longrope")


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Where the texts of a packed row stand.

    Attributes:
        order: [B] the texts in the order in which they stand, longest first.
        starts: [B] where each text begins, by its number before packing.
        blocks: (length, texts) of each run of equally long texts.
    """

    order: Tensor
    starts: Tensor
    blocks: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """Return how texts of the given lengths are packed, [B]."""
        ordered, order = lengths.sort(descending=True, stable=True)
        starts = torch.empty_like(lengths)
        starts[order] = ordered.cumsum(0) - ordered
        values, counts = ordered.unique_consecutive(return_counts=True)
        blocks = tuple(zip(values.tolist(), counts.tolist(), strict=True))
        return cls(order=order, starts=starts, blocks=blocks)


def can_pack(trunk: nn.Module, width: int) -> bool:
    """Return whether texts of up to ``width`` tokens may be packed, as far as a trunk tells.

    It must ask for scaled-dot-product attention by name, at positions that it is told, and every
    token must see its whole text. Whether the numbers agree is for `packs_exactly` to try.
    """
    if not isinstance(trunk, PreTrainedModel):
        return False
    config = trunk.config
    rope = getattr(config, "rope_parameters", None) or {}
    window = attention_window(config)
    return (
        trunk._supports_attention_backend
        and config._attn_implementation == "sdpa"
        and not config.sub_configs
        and rope.get("rope_type") not in _ROPE_OF_THE_BATCH
        and (window is None or window >= width)
        and "position_ids" in inspect.signature(trunk.forward).parameters
        # Code put in the place of a method would run the modules that it was made for.
        and not any("forward" in module.__dict__ for module in trunk.modules())
    )


@torch.no_grad()
def packs_exactly(trunk: PreTrainedModel) -> bool:
    """Return whether packed texts get the numbers that they get by themselves."""
    tokens = torch.tensor([[0, 1, 0, 0], [1, 1, 0, 1]], device=trunk.device)
    wanted = torch.tensor([[True, True, False, False], [True] * 4], device=trunk.device)
    expected = trunk(input_ids=tokens, use_cache=False).last_hidden_state[wanted]
    try:
        found = packed_hidden(attending_apart(trunk), tokens, wanted)
    except (TypeError, ValueError, RuntimeError):
        return False
    tolerance = torch.finfo(expected.dtype).eps ** 0.5
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def packed_hidden(trunk: nn.Module, tokens: Tensor, wanted: Tensor) -> Tensor:
    """Return a trunk's output at some positions of texts that end at their last wanted one.

    Args:
        trunk: what `attending_apart` made.
        tokens: [B, L] int64, padded on the right.
        wanted: [B, L] bool, at least one in every row.

    Returns:
        [M, H], row by row.
    """
    width = tokens.shape[1]
    lengths = width - wanted.flip(1).int().argmax(dim=1)
    packing = Packing.of(lengths)
    columns = torch.arange(width, device=tokens.device).expand(tokens.shape)
    is_text = columns < lengths[packing.order, None]
    output = trunk(
        input_ids=tokens[packing.order][is_text][None],
        position_ids=columns[is_text][None],
        use_cache=False,
        packing=packing,
    )
    rows, positions = wanted.nonzero(as_tuple=True)
    return output.last_hidden_state[0][packing.starts[rows] + positions]


def attending_apart(trunk: nn.Module) -> nn.Module:
    """Return a twin of a trunk that has its weights, and lets packed texts attend apart.

    Parameters, buffers and hooks are the trunk's own; only modules and configurations are new, so
    nobody else who uses the trunk, be it in another thread, notices.
    """
    configs: dict[int, PreTrainedConfig] = {}

    def twin(module: nn.Module) -> nn.Module:
        made = object.__new__(type(module))
        made.__dict__.update(module.__dict__)
        made._modules = {
            name: child if child is None else twin(child) for name, child in module._modules.items()
        }
        if isinstance(config := getattr(module, "config", None), PreTrainedConfig):
            if id(config) not in configs:
                configs[id(config)] = copy.copy(config)
                configs[id(config)]._attn_implementation = _NAME
            made.__dict__["config"] = configs[id(config)]
        return made

    return twin(trunk)


def _attend_apart(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend within each text; texts of one length together.

    Args:
        module: the attention layer.
        query: [1, heads, T, D].
        key: [1, key heads, T, D].
        value: [1, key heads, T, D].
        attention_mask: none: a packed row has no padding, and attention is causal.
        packing: where the texts stand.
        **settings: those of `transformers`' own scaled-dot-product attention, which does the work.

    Returns:
        [1, T, heads, D], and no attention weights.
    """
    # Split once: each of many slices would have a gradient as long as the whole row.
    sizes = [length * count for length, count in packing.blocks]
    states = (each[0].split(sizes, dim=1) for each in (query, key, value))
    parts = []
    for (length, count), *block in zip(packing.blocks, *states, strict=True):
        texts = [each.unflatten(1, (count, length)).transpose(0, 1) for each in block]
        attended, _ = _SDPA(module, *texts, None, **settings)
        parts.append(attended.flatten(0, 1))
    return torch.cat(parts)[None], None


AttentionInterface.register(_NAME, _attend_apart)
