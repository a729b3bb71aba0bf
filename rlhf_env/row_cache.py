"""A key/value cache in which every row stands at a position of its own.

Unmodified Hugging Face decoders write through it: one static buffer per layer, and texts of
different lengths side by side without padding between prompt and response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass(frozen=True, kw_only=True)
class _Write:
    """Where one forward pass writes and what it may read.

    Attributes:
        rows: [R] the rows that take part; None when all do.
        slots: [R, T] the slot of each token; ``capacity`` is a slot that nobody reads.
        span: the pass reads slots [0, span).
    """

    rows: Tensor | None
    slots: Tensor
    span: int


class RowCache(Cache):
    """Keys and values of N texts of up to ``capacity`` tokens."""

    def __init__(self, num_rows: int, capacity: int) -> None:
        """Make an empty cache; a layer takes its memory when it first writes."""
        super().__init__(layer_class_to_replicate=_RowLayer)
        self.num_rows = num_rows
        self.capacity = capacity
        self._write: _Write | None = None

    def begin(self, rows: Tensor, positions: Tensor, is_new: Tensor, model: nn.Module) -> Tensor:
        """Prepare one forward pass and return its attention mask.

        Args:
            rows: [R] the rows that take part, ascending.
            positions: [R, T] where each token stands in its text.
            is_new: [R, T] False for padding, which is written where nobody reads.
            model: the model about to run; eager attention adds its mask, others select by it.

        Returns:
            [R, 1, T, S] mask over the first S slots: each token sees its text up to itself.
        """
        span = int(positions.max()) + 1
        self._write = _Write(
            rows=None if len(rows) == self.num_rows else rows,
            slots=torch.where(is_new, positions, self.capacity),
            span=span,
        )
        slots = torch.arange(span, device=positions.device)
        mask = (slots <= positions[:, :, None])[:, None]
        if model.config._attn_implementation != "eager":  # type: ignore[union-attr]
            return mask
        dtype = next(model.parameters()).dtype
        return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values and return all that its queries may see."""
        while len(self.layers) <= layer_idx:
            self.layers.append(_RowLayer())
        layer = self._row_layers[layer_idx]
        if not layer.is_initialized:
            layer.allocate(key_states, value_states, self.num_rows, self.capacity + 1)
        assert self._write is not None, "begin() comes before the forward pass"
        return layer.write(key_states, value_states, self._write)

    def copy_rows(self, sources: Tensor, targets: Tensor) -> None:
        """Give each target row the keys and values of its source row."""
        for layer in self._row_layers:
            layer.copy_rows(sources, targets)

    @property
    def _row_layers(self) -> list[_RowLayer]:
        return cast(list[_RowLayer], self.layers)


class _RowLayer(CacheLayerMixin):
    """One layer's buffers, [N, capacity + 1, H, D]: a token's heads lie together."""

    def allocate(self, keys: Tensor, values: Tensor, num_rows: int, num_slots: int) -> None:
        self.keys = keys.new_zeros((num_rows, num_slots, keys.shape[1], keys.shape[3]))
        self.values = values.new_zeros((num_rows, num_slots, values.shape[1], values.shape[3]))
        self.is_initialized = True

    def write(self, keys: Tensor, values: Tensor, write: _Write) -> tuple[Tensor, Tensor]:
        """Store [R, H, T, D] and return the visible keys and values, [R, H, S, D]."""
        assert self.keys is not None and self.values is not None
        rows = write.rows
        if rows is None:
            rows = torch.arange(len(write.slots), device=write.slots.device)
        self.keys[rows[:, None], write.slots] = keys.transpose(1, 2)
        self.values[rows[:, None], write.slots] = values.transpose(1, 2)
        seen = self.keys[:, : write.span], self.values[:, : write.span]
        if write.rows is not None:
            seen = seen[0][rows], seen[1][rows]
        return seen[0].transpose(1, 2), seen[1].transpose(1, 2)

    def copy_rows(self, sources: Tensor, targets: Tensor) -> None:
        assert self.keys is not None and self.values is not None
        self.keys[targets] = self.keys[sources]
        self.values[targets] = self.values[sources]

    # The base class asks for the following; `RowCache` has taken their work over.

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise RuntimeError("RowCache allocates its layers itself")

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        raise RuntimeError("RowCache writes its layers itself")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (0 if self.keys is None else self.keys.shape[1]), 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1 if self.keys is None else self.keys.shape[1] - 1

    def get_max_cache_shape(self) -> int:
        return self.get_max_length()
