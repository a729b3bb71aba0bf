"""Which tokens of a packed row see which, in the form that flex attention reads.

A token sees what comes before it in its own piece of the row, a prefix or a suffix, and the prefix
that the piece continues: two runs of places, whose bounds depend on the token alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import pad

from rlhf_env.engine.packing import Packing
from rlhf_env.engine.placement import sent

# Places are told apart one by one only in blocks of so many that some see and some do not.
BLOCK = 128


def filled_length(length: int) -> int:
    """Return how long a row is made: a multiple of `BLOCK`, and at least two blocks.

    Kernels of other lengths check every bound. `torch.compile` makes another one for a dimension
    of size 1, such as a single block.
    """
    return max(2, -(-length // BLOCK)) * BLOCK


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What each place of a row sees: its own piece from ``own`` to itself, and a prefix."""

    own: Tensor
    """[T] int32, where the piece of the place begins."""
    start: Tensor
    """[T] int32, where the prefix begins that the piece continues; 0 where it continues none."""
    end: Tensor
    """[T] int32, the place after that prefix; 0 where the piece continues none."""

    @classmethod
    def of(cls, packing: Packing, size: int) -> Sight:
        """Return what the tokens of packed texts see.

        Args:
            packing: the texts, in a row.
            size: T, at least the row's length; what is behind the row sees itself only.
        """
        lengths = [length for length, count in packing.prefixes for _ in range(count)]
        starts = list(accumulate(lengths, initial=0))
        runs = [(starts[-1], 0, 0)]
        for suffix in packing.suffixes:
            start, length = starts[suffix.prefix], lengths[suffix.prefix]
            runs.append((suffix.count * suffix.length, start, start + length))
        filling = size - len(packing.tokens)
        runs.append((filling, 0, 0))
        device = packing.tokens.device
        counts, *bounds = sent(torch.tensor(runs, dtype=torch.int32).T.contiguous(), device)
        start, end = torch.stack(bounds).repeat_interleave(counts, dim=1, output_size=size)
        positions = pad(packing.positions, (0, filling)).int()
        places = torch.arange(size, dtype=torch.int32, device=device)
        return cls(own=places - positions + (end - start), start=start, end=end)

    def blocks(self) -> BlockMask:
        """Return the mask of a row whose length T is a multiple of `BLOCK`.

        In place of all pairs of places it looks at all pairs of a place and a block.
        """
        own, start, end = self.own, self.start, self.end
        size, device = len(own), own.device

        def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            in_piece = (key >= own[query]) & (key <= query)
            return in_piece | ((key >= start[query]) & (key < end[query]))

        places = torch.arange(size, dtype=torch.int32, device=device)[:, None]
        first = places[::BLOCK, 0]
        last = first + (BLOCK - 1)
        since, begin, behind = own[:, None], start[:, None], end[:, None]
        meets = ((last >= since) & (first <= places)) | ((last >= begin) & (first < behind))
        holds = ((first >= since) & (last <= places)) | ((first >= begin) & (last < behind))
        by_block = (-1, BLOCK, size // BLOCK)
        whole = holds.view(by_block).all(dim=1)
        some = meets.view(by_block).any(dim=1) & ~whole
        return BlockMask.from_kv_blocks(
            *_listed(some),
            *_listed(whole),
            BLOCK_SIZE=BLOCK,
            mask_mod=sees,
            seq_lengths=(size, size),
        )


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many blocks of keys each block of queries [N, N] has, and which come first."""
    order = blocks.int().argsort(dim=1, descending=True, stable=True).int()
    return blocks.sum(dim=1, dtype=torch.int32)[None, None], order[None, None]
