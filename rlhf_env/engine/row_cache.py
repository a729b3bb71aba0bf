"""A key/value cache in which every row has its own position.

Unmodified Hugging Face decoders write through it: one static buffer per layer, and texts of
different lengths side by side without padding between prompt and response.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin

from rlhf_env.engine.compat import attention_implementation, is_stateful, plain_llama, works


@dataclass(frozen=True, kw_only=True)
class _Write:
    """Where one forward pass writes and what it may read."""

    rows: Tensor
    """[R] the rows that take part."""
    is_prefix: bool
    """Whether they are the first R, which can be read without a copy."""
    slots: Tensor
    """[R, T] the slot of each token; slot ``capacity`` is never read."""
    positions: Tensor
    """[R, T] its position in its text."""
    common_slot: int | None
    """Where every row writes its one token; None where they differ."""
    span: int
    """The pass reads slots [0, span)."""


class RowCache(Cache):
    """Keys and values of N texts of up to ``capacity`` tokens."""

    def __init__(self, num_rows: int, capacity: int) -> None:
        """Make an empty cache; a layer takes its memory when it first writes."""
        super().__init__(layer_class_to_replicate=_RowLayer)
        self.num_rows = num_rows
        self.capacity = capacity
        self._allocated_rows = num_rows
        self._write: _Write | None = None

    def begin(self, rows: Tensor, positions: Tensor, is_new: Tensor, dtype: torch.dtype) -> Tensor:
        """Prepare one forward pass and return its attention mask, [R, 1, T, S].

        Args:
            rows: [R] the rows that take part, ascending.
            positions: [R, T] the position of each token in its text.
            is_new: [R, T] False for padding, which is written to a slot that is never read.
            dtype: of the model about to run.
        """
        self.prepare(rows, positions, is_new)
        return self.mask(dtype)

    def prepare(self, rows: Tensor, positions: Tensor, is_new: Tensor) -> None:
        """Do what `begin` does without making a mask."""
        span = int(positions.max()) + 1
        slots = torch.where(is_new, positions, self.capacity)
        is_common = slots.shape[1] == 1 and bool((slots == span - 1).all())
        self._prepare(rows, slots, positions, span, is_common)

    def prepare_token(
        self, rows: Tensor, positions: Tensor, span: int, *, is_common: bool = False
    ) -> None:
        """Do what `prepare` does for one token of each row, without waiting for the device.

        Args:
            rows: [R] the rows that take part, ascending.
            positions: [R, 1] the position of each token in its text.
            span: more than the largest of them.
            is_common: whether all of them are known to be ``span - 1``.
        """
        self._prepare(rows, positions, positions, span, is_common)

    def _prepare(
        self, rows: Tensor, slots: Tensor, positions: Tensor, span: int, is_common: bool
    ) -> None:
        self._write = _Write(
            rows=rows,
            is_prefix=len(rows) == self.num_rows,
            slots=slots,
            positions=positions,
            common_slot=span - 1 if is_common else None,
            span=span,
        )

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return the attention mask of the present pass, [R, 1, T, S].

        It is added to the scores of the first S slots: each token sees its text up to itself.
        """
        # Numbers, although attention would take bits: it would turn them into numbers in every
        # layer.
        write = self._prepared
        columns = torch.arange(write.span, device=write.positions.device)
        hidden = columns > write.positions[:, None, :, None]
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min)

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values and return all that its queries may see."""
        layer = self._layer(layer_idx)
        if not layer.is_initialized:
            layer.allocate(key_states, value_states, self._allocated_rows, self.capacity + 1)
        return layer.write(self._prepared, key_states, value_states)

    def update_pair(self, states: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Do what `update` does for keys and values side by side, [R, 2 H, T, D].

        What is returned can be flattened over rows and heads without a copy.
        """
        layer = self._layer(number)
        if not layer.is_initialized:
            layer.allocate_pair(states, self._allocated_rows, self.capacity + 1)
        return layer.write_pair(self._prepared, states)

    def _layer(self, number: int) -> _RowLayer:
        while len(self.layers) <= number:
            self.layers.append(_RowLayer())
        return self._row_layers[number]

    @property
    def span(self) -> int:
        """S, more than the largest position of the present pass."""
        return self._prepared.span

    @property
    def sees_all(self) -> bool:
        """Whether the mask of the present pass hides nothing: one token a row, in one place."""
        return self._prepared.common_slot is not None

    @property
    def _prepared(self) -> _Write:
        assert self._write is not None, "prepare() comes before the forward pass"
        return self._write

    def copy_rows(self, sources: Tensor, targets: Tensor, span: int) -> None:
        """Give each target row the first ``span`` keys and values of its source row."""
        for layer in self._row_layers:
            layer.copy_rows(sources, targets, span)

    def truncate_rows(self, num_rows: int) -> None:
        """Forget all rows but the first ``num_rows``; their memory is kept."""
        self.num_rows = num_rows

    @property
    def _row_layers(self) -> list[_RowLayer]:
        return cast(list[_RowLayer], self.layers)


class _RowLayer(CacheLayerMixin):
    """One layer's buffers, [N, H, capacity + 1, D]: a head's slots lie together."""

    pair: Tensor | None = None
    """Both buffers as one, [2, N, H, capacity + 1, D], where they were allocated so."""

    def allocate(self, keys: Tensor, values: Tensor, num_rows: int, num_slots: int) -> None:
        self.keys = keys.new_zeros((num_rows, keys.shape[1], num_slots, keys.shape[3]))
        self.values = values.new_zeros((num_rows, values.shape[1], num_slots, values.shape[3]))
        self.is_initialized = True

    def allocate_pair(self, states: Tensor, num_rows: int, num_slots: int) -> None:
        heads = states.shape[1] // 2
        self.pair = states.new_zeros((2, num_rows, heads, num_slots, states.shape[3]))
        self.keys, self.values = self.pair
        self.is_initialized = True

    def write(self, write: _Write, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store states and return the visible keys and values, [R, H, S, D].

        Args:
            write: where.
            keys: [R, H, T, D].
            values: [R, H, T, D].
        """
        assert self.keys is not None and self.values is not None
        rows = slice(len(write.rows)) if write.is_prefix else write.rows
        for buffer, states in ((self.keys, keys), (self.values, values)):
            if write.common_slot is not None:
                buffer[rows, :, write.common_slot] = states[:, :, 0]
            else:
                buffer[write.rows[:, None], :, write.slots] = states.transpose(1, 2)
        return self.keys[:, :, : write.span][rows], self.values[:, :, : write.span][rows]

    def write_pair(self, write: _Write, states: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `write` does for keys and values side by side, [R, 2 H, T, D]."""
        assert self.pair is not None
        buffer = self.pair[:, : len(write.rows)] if write.is_prefix else self.pair
        pairs = states.unflatten(1, (2, -1)).transpose(0, 1)
        if write.common_slot is None:
            buffer[:, write.rows[:, None], :, write.slots] = pairs.permute(1, 3, 0, 2, 4)
        elif write.is_prefix:
            buffer.select(3, write.common_slot).copy_(pairs.squeeze(3))
        else:
            buffer.select(3, write.common_slot)[:, write.rows] = pairs.squeeze(3)
        seen = buffer.narrow(3, 0, write.span)
        keys, values = seen if write.is_prefix else seen[:, write.rows]
        return keys, values

    def copy_rows(self, sources: Tensor, targets: Tensor, span: int) -> None:
        assert self.keys is not None and self.values is not None
        for states in (self.keys, self.values):
            states[targets, :, :span] = states[sources, :, :span]

    # The base class requires the following; `RowCache` does their work.

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise RuntimeError("RowCache allocates its layers itself")

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        raise RuntimeError("RowCache writes its layers itself")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (0 if self.keys is None else self.keys.shape[2]), 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1 if self.keys is None else self.keys.shape[2] - 1

    def get_max_cache_shape(self) -> int:
        return self.get_max_length()


def attention_window(config: object) -> int | None:
    """Return how many tokens back a model of this configuration attends; None for all."""
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((window for window in windows if window is not None), default=None)


def supports_row_cache(model: nn.Module, capacity: int) -> bool:
    """Return whether texts of up to ``capacity`` tokens of this model can be cached by row.

    A model that ought to and cannot is named in a warning; an architecture that knows no cache,
    in its configuration as in its ``forward``, makes no promise to break.
    """
    parameters = inspect.signature(model.forward).parameters
    config = getattr(model, "config", None)
    if "past_key_values" not in parameters and not getattr(config, "use_cache", False):
        return False
    window = attention_window(config)
    attention = attention_implementation(config)
    reason = None
    if not {"past_key_values", "position_ids", "logits_to_keep"} <= parameters.keys():
        reason = "has no key/value cache of the usual form"
    elif is_stateful(model):
        reason = "keeps a state that cannot be rewound"
    elif attention not in ("eager", "sdpa"):
        reason = f"runs with {attention!r} attention, which takes no mask of its own per row"
    elif window is not None and window < capacity:
        reason = f"attends to a window of {window} tokens, fewer than the {capacity} of an episode"
    if reason is not None:
        warnings.warn(
            f"{type(model).__name__} {reason}; every step runs the whole text", stacklevel=3
        )
    return reason is None and _follows_contract()


@functools.cache
def _follows_contract() -> bool:
    """Return whether the installed transformers writes and reads a `RowCache` as it should."""
    return works("the key/value cache", "every step runs the whole text", _caches_exactly)


@torch.no_grad()
def _caches_exactly() -> bool:
    """Decode rows of different lengths of a plain model, with and without a cache."""
    model, tokens = plain_llama(), torch.tensor([[0, 1, 2, 3], [4, 0, 1, 0]])
    cache, rows = RowCache(2, 4), torch.arange(2)
    # Row 0 holds three tokens and row 1 two, after padding; then each gets one more.
    prefill = torch.tensor([[0, 1, 2], [0, 0, 1]])
    is_new = torch.tensor([[True, True, True], [False, True, True]])
    logits = tokens.new_zeros(())
    for positions, new in ((prefill, is_new), (torch.tensor([[3], [2]]), is_new[:, -1:])):
        logits = model(
            input_ids=tokens.gather(1, positions),
            position_ids=positions,
            attention_mask=cache.begin(rows, positions, new, torch.float32),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
    expected = model(input_ids=tokens, use_cache=False).logits[rows, torch.tensor([3, 2])]
    return torch.allclose(logits, expected, rtol=1e-4, atol=1e-4)
