"""Texts that people rated, from memory or from a file, and their split into two parts.

This module fits no model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlhf_env.text.rows import ROW_KINDS, column_of, file_kind, read_objects

HELD_OUT_SHARE = 10


@dataclass(frozen=True, kw_only=True)
class RatedTexts:
    """Texts and their human ratings."""

    texts: Sequence[str]
    """The texts."""
    ratings: Sequence[float]
    """One finite number each; higher is better."""

    def __post_init__(self) -> None:
        """Refuse rows that are not a text with a number, naming the first; rows count from 1."""
        if len(self.texts) != len(self.ratings):
            raise ValueError(
                f"texts and ratings must be equally many, got {len(self.texts)} and "
                f"{len(self.ratings)}"
            )
        if not len(self.texts):
            raise ValueError("ratings must hold at least one rated text, got none")
        for row, (text, rating) in enumerate(zip(self.texts, self.ratings, strict=True), start=1):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"row {row} of the ratings must have a text, got {text!r:.60}")
            is_number = isinstance(rating, Real) and not isinstance(rating, bool | np.bool_)
            if not is_number or not math.isfinite(rating):
                raise ValueError(
                    f"row {row} of the ratings must have a finite number, got {rating!r:.60}; "
                    "correct or remove the row"
                )

    def __len__(self) -> int:
        """Return the number of rated texts."""
        return len(self.texts)

    @property
    def values(self) -> NDArray[np.float64]:
        """[B] the ratings as an array."""
        return np.asarray(self.ratings, dtype=np.float64)

    @property
    def neutral(self) -> float:
        """0 where ratings have both signs; otherwise their mean, as on a scale from 1 to 5."""
        values = self.values
        return 0.0 if values.min() < 0.0 < values.max() else float(values.mean())

    def split(self) -> tuple[RatedTexts, RatedTexts]:
        """Return nine tenths to fit on and one tenth to hold out, the same at each call.

        Raises:
            ValueError: if a part would be empty.
        """
        held_out = [is_held_out(text) for text in self.texts]
        if all(held_out) or not any(held_out):
            raise ValueError(
                f"ratings must hold enough texts to set a tenth aside, got {len(self)}; add more"
            )
        return self._where(held_out, False), self._where(held_out, True)

    def _where(self, flags: list[bool], wanted: bool) -> RatedTexts:
        rows = [row for row, flag in enumerate(flags) if flag is wanted]
        return RatedTexts(
            texts=[self.texts[row] for row in rows], ratings=[self.ratings[row] for row in rows]
        )


def is_held_out(text: str) -> bool:
    """Return True for one text in ten; equal texts but for case and spaces fare alike."""
    plain = " ".join(text.casefold().split())
    digest = hashlib.sha256(plain.encode("utf-8", errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_SHARE == 0


def read_rated_texts(
    path: str | Path, text_field: str, rating_field: str, option: str = "ratings"
) -> RatedTexts:
    """Return the rated texts of a JSONL or Parquet file.

    Args:
        path: the file, optionally with .gz.
        text_field: the field that holds the text.
        rating_field: the field that holds the rating.
        option: how the caller named the file, for error messages.

    Raises:
        ValueError: if it cannot be read, a field is missing, or a row is not a text with a
            number.
    """
    file = Path(path)
    if not file.is_file() or file_kind(file) not in ROW_KINDS:
        raise ValueError(
            f"{option} must be an existing .jsonl, .json (lines) or .parquet file, optionally "
            f"with .gz, got {str(path)!r}"
        )
    rows = read_objects(file, option)
    texts, ratings = (
        column_of(rows, [field], option, repr(str(path))) for field in (text_field, rating_field)
    )
    try:
        return RatedTexts(texts=texts, ratings=ratings)
    except ValueError as error:
        raise ValueError(f"{option}: {str(path)!r}: {error}") from error
