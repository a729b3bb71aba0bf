"""Attention of packed texts, forward and backward, without a tape of operations.

Queries, keys and values of a token are side by side, as one projection makes them. PyTorch's kernel
for CPUs does the work; equally long texts attend together, and texts that continue a prefix see
its keys and values as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf_env.engine.compat import cpu_attention, cpu_attention_backward
from rlhf_env.engine.fused.weights import LayerShape
from rlhf_env.engine.packing import Packing


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Equally long texts, one after the other."""

    start: int
    """Where in the row the first begins."""
    count: int
    length: int
    prefix: tuple[int, int] | None = None
    """Where the prefix that they continue begins, and how long it is."""

    @property
    def is_causal(self) -> bool:
        """Whether the kernel's own mask is the right one."""
        return self.prefix is None

    def of(self, states: Tensor) -> Tensor:
        """Return this block's part of [T, ...] as a view, [count, length, ...]."""
        size = self.count * self.length
        return states[self.start : self.start + size].unflatten(0, (self.count, self.length))


class PackedAttention:
    """The texts of a packed row, for all layers of a decoder."""

    def __init__(self, packing: Packing, shape: LayerShape) -> None:
        """Find out where the texts are."""
        self._shape = shape
        self._blocks = list(_blocks(packing))
        self._masks: dict[tuple[int, int], Tensor] = {}

    def forward(self, states: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what the tokens attend to, [T, heads, D], and what `backward` needs.

        Args:
            states: [T, heads + 2 key heads, D], queries and keys turned.
        """
        parts, kept = [], []
        for block in self._blocks:
            query, key, value = self._inputs(block, states)
            found, normalizer = cpu_attention(
                query,
                key,
                value,
                is_causal=block.is_causal,
                attn_mask=self._mask(block, states),
                scale=self._shape.scaling,
            )
            parts.append(found.transpose(1, 2).flatten(0, 1))
            kept.append(normalizer)
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), kept

    def backward(
        self, gradient: Tensor, states: Tensor, found: Tensor, kept: list[Tensor]
    ) -> Tensor:
        """Return the gradient by the states, [T, heads + 2 key heads, D].

        Args:
            gradient: by what `forward` found, [T, heads, D].
            states: what it was given.
            found: what it found.
            kept: the rest of what it returned.
        """
        of_states = torch.empty_like(states)
        for block, normalizer in zip(self._blocks, kept, strict=True):
            query, key, value = self._inputs(block, states)
            of_query, *of_pair = cpu_attention_backward(
                block.of(gradient).transpose(1, 2),
                query,
                key,
                value,
                block.of(found).transpose(1, 2),
                normalizer,
                is_causal=block.is_causal,
                attn_mask=self._mask(block, states),
                scale=self._shape.scaling,
            )
            own = block.of(of_states)
            own[:, :, : self._shape.heads] = of_query.transpose(1, 2)
            for place, each in zip(self._pair(own), of_pair, strict=True):
                place.copy_(each[:, :, -block.length :].transpose(1, 2))
            if block.prefix is not None:
                start, length = block.prefix
                before = of_states[None, start : start + length]
                for place, each in zip(self._pair(before), of_pair, strict=True):
                    place.add_(each[:, :, :length].sum(0, keepdim=True).transpose(1, 2))
        return of_states

    def _inputs(self, block: _Block, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of a block, [count, heads, length, D] each."""
        own = block.of(states)
        query, pair = own[:, :, : self._shape.heads], own[:, :, self._shape.heads :]
        if block.prefix is not None:
            start, length = block.prefix
            before = states[None, start : start + length, self._shape.heads :]
            pair = torch.cat([before.expand(block.count, -1, -1, -1), pair], dim=1)
        key, value = pair.tensor_split(2, dim=2)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    def _pair(self, states: Tensor) -> tuple[Tensor, ...]:
        """Return the keys and the values of [count, length, heads + 2 key heads, D]."""
        return states[:, :, self._shape.heads :].tensor_split(2, dim=2)

    def _mask(self, block: _Block, states: Tensor) -> Tensor | None:
        """Return what is added to the scores of texts that continue a prefix, [length, S]."""
        if block.prefix is None or block.length == 1:
            return None
        size = block.length, block.prefix[1] + block.length
        if size not in self._masks:
            hidden = states.new_full(size, -torch.inf)
            self._masks[size] = hidden.triu_(block.prefix[1] + 1)
        return self._masks[size]


def _blocks(packing: Packing) -> Iterator[_Block]:
    start = 0
    prefixes = []
    for length, count in packing.prefixes:
        yield _Block(start=start, count=count, length=length)
        prefixes += [(start + number * length, length) for number in range(count)]
        start += count * length
    for suffix in packing.suffixes:
        prefix = prefixes[suffix.prefix]
        yield _Block(start=start, count=suffix.count, length=suffix.length, prefix=prefix)
        start += suffix.count * suffix.length
