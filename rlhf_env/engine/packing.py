"""Where the tokens of many texts are when they are packed into one row.

There is no padding, and a prefix that several texts share, as the responses of a group share their
prompt, is there only once::

    texts        row
    A a b        prefixes, longest first          suffixes, by prefix and length
    A c     ->   | A  first prompt | B  second |  | c | a b | d |
    B d            0 1 2 ...         0 1 ...        ^ positions continue those of the prefix

Equally long prefixes, and equally long suffixes of one prefix, attend as one batch. A text that
shares nothing is a prefix without a suffix. This module holds no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

# Prefixes are shared where that saves at least one token in so many.
_WORTH_SHARING = 8
# Texts are filled from so many times the number on that is to divide their lengths.
_WORTH_FILLING = 4


@dataclass(frozen=True, kw_only=True)
class Suffix:
    """Texts that continue one prefix and are equally long."""

    prefix: int
    """The number of the prefix, in their order in the row."""
    length: int
    """Tokens of each after the prefix."""
    count: int
    """How many there are, one after the other."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A row of T tokens: first all prefixes, longest first, then all suffixes.

    A text that shares nothing is a prefix without a suffix.
    """

    tokens: Tensor
    """[T]."""
    positions: Tensor
    """[T] where in its text a token is."""
    offsets: Tensor
    """[B, L] where in the row each token of a text is; arbitrary after its end. L is the texts'
    width, or more where they were filled up.
    """
    prefixes: tuple[tuple[int, int], ...]
    """(length, count) of each run of equally long prefixes."""
    suffixes: tuple[Suffix, ...]
    """In their order in the row."""

    @classmethod
    def of(
        cls, tokens: Tensor, wanted: Tensor, shares_prefixes: bool = True, multiple: int = 1
    ) -> Packing:
        """Return how texts are packed that end at their last wanted token.

        Args:
            tokens: [B, L] int64, padded on the right.
            wanted: [B, L] bool, at least one in every row.
            shares_prefixes: store equal prefixes, up to the first wanted token, once.
            multiple: fill longer texts up to lengths that it divides, with tokens that none of
                the others sees; ``offsets`` may be wider than the texts then.
        """
        lengths = tokens.shape[1] - wanted.flip(1).int().argmax(dim=1)
        opened = wanted.int().argmax(dim=1) + 1
        is_long = lengths >= _WORTH_FILLING * multiple
        lengths = torch.where(is_long, -(-lengths // multiple) * multiple, lengths)
        tokens = pad(tokens, (0, max(0, int(lengths.max()) - tokens.shape[1])))
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        first, same = distinct_texts(tokens, opened)
        saved = opened.sum() - opened[first].sum()
        if not shares_prefixes or saved * _WORTH_SHARING < lengths.sum():
            opened, first = lengths, torch.arange(len(tokens), device=tokens.device)
            same = first
        # Prefixes, longest first, and the number that each text's prefix has among them.
        ordered, order = opened[first].sort(descending=True, stable=True)
        number = order.argsort()[same]
        prefix_starts = (ordered.cumsum(0) - ordered)[number]
        # Suffixes by prefix and length; empty ones take no place.
        rest = lengths - opened
        suffix_order = (number * (len(columns) + 1) + rest).argsort(stable=True)
        suffix_starts = torch.empty_like(rest)
        behind = rest[suffix_order].cumsum(0) - rest[suffix_order]
        suffix_starts[suffix_order] = ordered.sum() + behind
        in_prefix = columns < opened[:, None]
        starts = torch.where(in_prefix, prefix_starts[:, None], (suffix_starts - opened)[:, None])
        offsets = starts + columns
        is_text = columns < lengths[:, None]
        total = int(ordered.sum() + rest.sum())
        packed, positions = tokens.new_empty(total), tokens.new_empty(total)
        packed[offsets[is_text]] = tokens[is_text]
        positions[offsets[is_text]] = columns.expand(tokens.shape)[is_text]
        return cls(
            tokens=packed,
            positions=positions,
            offsets=offsets,
            prefixes=_runs(ordered),
            suffixes=_suffixes(number[suffix_order], rest[suffix_order]),
        )

    @property
    def is_batch(self) -> bool:
        """Whether the texts are equally long and share nothing."""
        return len(self.prefixes) == 1 and not self.suffixes


def distinct_texts(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first row of each distinct text [K], and which of them each row equals [R].

    Args:
        tokens: [R, L] int64.
        lengths: [R] how many tokens of each row count.
    """
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    texts = tokens.masked_fill(columns >= lengths[:, None], -1)
    _, same = torch.unique(texts, dim=0, return_inverse=True)
    equal = same[:, None] == torch.arange(int(same.max()) + 1, device=tokens.device)
    first, order = equal.int().argmax(0).sort()
    return first, order.argsort()[same]


def length_batches(is_action: Tensor, max_tokens: int = 8192) -> list[tuple[Tensor, int]]:
    """Split rows into batches of similar length, so that little padding is computed.

    Args:
        is_action: [B, L] bool; a row ends at its last True.
        max_tokens: upper bound of rows x width of a batch of more than one row.

    Returns:
        (row numbers, width) pairs that hold every row once.
    """
    lengths = is_action.shape[1] - is_action.flip(1).int().argmax(dim=1)
    sorted_lengths, order = lengths.sort(descending=True)
    batches, start, widths = [], 0, sorted_lengths.tolist()
    while start < len(widths):
        count = max(1, max_tokens // widths[start])
        batches.append((order[start : start + count], widths[start]))
        start += count
    return batches


def _runs(values: Tensor) -> tuple[tuple[int, int], ...]:
    """Return (value, count) of each run of equal values."""
    found, counts = values.unique_consecutive(return_counts=True)
    return tuple(zip(found.tolist(), counts.tolist(), strict=True))


def _suffixes(prefixes: Tensor, lengths: Tensor) -> tuple[Suffix, ...]:
    pairs = torch.stack([prefixes, lengths], dim=1)[lengths > 0]
    found, counts = pairs.unique_consecutive(dim=0, return_counts=True)
    return tuple(
        Suffix(prefix=prefix, length=length, count=count)
        for (prefix, length), count in zip(found.tolist(), counts.tolist(), strict=True)
    )
