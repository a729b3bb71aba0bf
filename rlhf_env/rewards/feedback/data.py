"""Many records of one kind, and their split by prompt. This module reads no file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from rlhf_env.rewards.feedback.prompt_and_response import prompt_text
from rlhf_env.rewards.feedback.rated_texts import is_held_out
from rlhf_env.rewards.feedback.records import (
    KINDS,
    Comparison,
    MarkedResponse,
    Rating,
    Record,
    Thumb,
)

__all__ = ["KINDS", "PreferenceData", "split_key"]


@dataclass(frozen=True, kw_only=True)
class PreferenceData:
    """Records of one kind, and what was unusual in their source."""

    records: tuple[Record, ...]
    """At least one, all of one kind (pairs, rankings and compared responses may be mixed)."""
    kind: str
    """One of `KINDS`."""
    notes: tuple[str, ...] = ()
    """Counted oddities, one sentence each: rows left out, identical sides, contradictions."""

    def __post_init__(self) -> None:
        """Refuse no records."""
        if not self.records:
            notes = f" ({'; '.join(self.notes)})" if self.notes else ""
            raise ValueError(f"data must hold at least one usable row, got none{notes}")

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)

    @property
    def pairs(self) -> tuple[Comparison, ...]:
        """Every pair of every record; none for ratings, thumbs and marked responses."""
        return tuple(
            pair
            for record in self.records
            if not isinstance(record, Rating | Thumb | MarkedResponse)
            for pair in record.pairs
        )

    def split(self) -> tuple[PreferenceData, PreferenceData]:
        """Return nine tenths to train on and one tenth to hold out, the same at each call.

        All records of one prompt fall on one side, chosen by a hash of the prompt; rated texts
        without prompt are told apart by their own text.

        Raises:
            ValueError: if a side would be empty.
        """
        flags = [is_held_out(split_key(record)) for record in self.records]
        if all(flags) or not any(flags):
            distinct = len({split_key(record) for record in self.records})
            raise ValueError(
                "data must hold enough prompts to set a tenth aside, got "
                f"{distinct} different ones; add more, or give held-out data of their own"
            )
        train, held_out = (
            tuple(r for r, flag in zip(self.records, flags, strict=True) if flag is wanted)
            for wanted in (False, True)
        )
        return replace(self, records=train), replace(self, records=held_out)

    def without_prompts_of(self, others: PreferenceData) -> PreferenceData:
        """Return the records whose prompt none of the others has, but for case and spaces.

        The rest is counted in the notes, and in one warning.

        Raises:
            ValueError: if none is left.
        """
        known = {_plain(record) for record in others.records}
        kept = tuple(record for record in self.records if _plain(record) not in known)
        if len(kept) == len(self):
            return self
        note = f"{len(self) - len(kept)} of {len(self)} held-out records left out: seen in training"
        warnings.warn(note, stacklevel=2)
        return replace(self, records=kept, notes=(*self.notes, note))


def split_key(record: Record) -> str:
    """Return the text that decides on which side of a split a record falls."""
    return prompt_text(record.prompt) or record.responses[0]


def _plain(record: Record) -> str:
    return " ".join(split_key(record).casefold().split())
