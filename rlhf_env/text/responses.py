"""Token ids of finished responses: one rule for demonstrations, comparisons and reward models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlhf_env.text.text_ids import plain_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def response_ids(text: str, name: str, tokenizer: PreTrainedTokenizerBase, prompt: Any) -> Tensor:
    """Return the ids of a finished response, [T], its end token included if there is one.

    A policy writes a response after its prompt, and many tokenizers treat the beginning of a text
    differently. So a response is tokenized after its prompt where that leaves the prompt's ids
    unchanged, and by itself where the two would merge, or the prompt is a chat or token ids.

    Args:
        text: the response.
        name: what error messages call it.
        tokenizer: of the model that writes, or reads, it.
        prompt: what the response continues: a text, a chat or token ids.

    Raises:
        ValueError: if the tokenizer cannot encode it.
    """
    ids, end = continuation_ids(text, name, tokenizer, prompt), tokenizer.eos_token_id
    return torch.tensor(ids if end is None else [*ids, end], dtype=torch.int64)


def continuation_ids(
    text: str, name: str, tokenizer: PreTrainedTokenizerBase, prompt: Any
) -> list[int]:
    """Return the ids of `response_ids` without the end token."""
    alone = plain_ids(text, name, tokenizer, add_special_tokens=False)
    if not isinstance(prompt, str):
        return alone
    try:
        whole = plain_ids(prompt + text, name, tokenizer, add_special_tokens=False)
        head = plain_ids(prompt, name, tokenizer, add_special_tokens=False)
    except ValueError:
        # The last word of the prompt and the first of the response join to an unknown word.
        return alone
    return whole[len(head) :] if whole[: len(head)] == head and len(whole) > len(head) else alone
