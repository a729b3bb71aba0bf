"""Where the tokens of many texts stand when they are packed into one row.

There is no padding, and an opening that several texts share, as the responses of a group share
their prompt, is there only once. No model is in here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Openings are shared where that saves at least one token in so many.
_WORTH_SHARING = 8


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Texts that go on alike: with the same opening, and equally long.

    Attributes:
        opening: the number of the opening, in the order in which prefixes stand.
        length: tokens of each behind the opening.
        count: how many there are, one behind the other.
    """

    opening: int
    length: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A row of T tokens: first all prefixes, longest first, then all suffixes.

    A text that shares nothing is an opening without an ending.

    Attributes:
        tokens: [T].
        positions: [T] where in its text a token stands.
        offsets: [B, L] where in the row each token of a text stands; anything behind its end.
        prefixes: (length, count) of each run of equally long prefixes.
        suffixes: in the order in which they stand.
    """

    tokens: Tensor
    positions: Tensor
    offsets: Tensor
    prefixes: tuple[tuple[int, int], ...]
    suffixes: tuple[Ending, ...]

    @classmethod
    def of(cls, tokens: Tensor, wanted: Tensor, shares_openings: bool = True) -> Packing:
        """Return how texts are packed that end at their last wanted token.

        Args:
            tokens: [B, L] int64, padded on the right.
            wanted: [B, L] bool, at least one in every row.
            shares_openings: let equal prefixes, up to the first wanted token, stand once.
        """
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        lengths = columns[-1] + 1 - wanted.flip(1).int().argmax(dim=1)
        opened = wanted.int().argmax(dim=1) + 1
        first, same = distinct_texts(tokens, opened)
        saved = opened.sum() - opened[first].sum()
        if not shares_openings or saved * _WORTH_SHARING < lengths.sum():
            opened, first = lengths, torch.arange(len(tokens), device=tokens.device)
            same = first
        # Openings, longest first, and the number that each text's opening has among them.
        ordered, order = opened[first].sort(descending=True, stable=True)
        number = order.argsort()[same]
        opening_starts = (ordered.cumsum(0) - ordered)[number]
        # Endings by opening and length; those of no length take no place.
        rest = lengths - opened
        ending_order = (number * (len(columns) + 1) + rest).argsort(stable=True)
        ending_starts = torch.empty_like(rest)
        behind = rest[ending_order].cumsum(0) - rest[ending_order]
        ending_starts[ending_order] = ordered.sum() + behind
        is_opening = columns < opened[:, None]
        starts = torch.where(is_opening, opening_starts[:, None], (ending_starts - opened)[:, None])
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
            suffixes=_endings(number[ending_order], rest[ending_order]),
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


def _runs(values: Tensor) -> tuple[tuple[int, int], ...]:
    """Return (value, count) of each run of equal values."""
    found, counts = values.unique_consecutive(return_counts=True)
    return tuple(zip(found.tolist(), counts.tolist(), strict=True))


def _endings(prefixes: Tensor, lengths: Tensor) -> tuple[Ending, ...]:
    pairs = torch.stack([prefixes, lengths], dim=1)[lengths > 0]
    found, counts = pairs.unique_consecutive(dim=0, return_counts=True)
    return tuple(
        Ending(opening=opening, length=length, count=count)
        for (opening, length), count in zip(found.tolist(), counts.tolist(), strict=True)
    )
