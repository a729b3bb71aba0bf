"""Spans of characters that people marked, as one label per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlhf_env.text.text_ids import encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The kinds of error of the fine-grained question-answering feedback (arXiv:2306.01693).
ERROR_TYPES = ("Irrelevant", "Redundant", "Incoherent", "Wrong-Grounding", "Unverifiable")


def span_token_labels(
    text: str,
    spans: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    types: Sequence[str] = ERROR_TYPES,
) -> Tensor:
    """Return the label of each token of a text, [T] int64: 0 unmarked, i + 1 for ``types[i]``.

    A token is marked if a span covers any of its characters; of several spans the one that covers
    most of it, then the earlier in the list. The tokens are those of the tokenizer without special
    ones.

    Args:
        text: the marked text.
        spans: ``{"start": first character, "end": one past the last, "type": name}``.
        tokenizer: a fast one, which reports the offsets of its tokens.
        types: the names of the labels.

    Raises:
        ValueError: if a span lies outside the text or its type is not among ``types``, or the
            tokenizer does not report offsets.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"tokenizer must be a fast one, which knows offsets, got {type(tokenizer).__name__}"
        )
    found = encoded(text, "text", tokenizer, return_offsets_mapping=True, add_special_tokens=False)
    offsets = torch.tensor(found["offset_mapping"], dtype=torch.int64).reshape(-1, 2)
    labels, most = torch.zeros(len(offsets), dtype=torch.int64), torch.zeros(len(offsets))
    for span in spans:
        start, end, label = _checked(span, len(text), types)
        covered = offsets[:, 1].clamp(max=end) - offsets[:, 0].clamp(min=start)
        is_more = covered > most
        labels[is_more] = label
        most = torch.where(is_more, covered, most)
    return labels


def _checked(span: Mapping[str, Any], length: int, types: Sequence[str]) -> tuple[int, int, int]:
    """Return a span's bounds and its label."""
    start, end, kind = span["start"], span["end"], span["type"]
    if not 0 <= start < end <= length:
        raise ValueError(
            f"span must lie in a text of {length} characters with start < end, got {start} to {end}"
        )
    if kind not in types:
        raise ValueError(f"span type must be one of {list(types)}, got {kind!r}")
    return start, end, types.index(kind) + 1
