"""Prompts from lists, files and data sets, and their token ids."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlhf_env.text.prompt_rows import NOT_COLUMNS, PromptRow
from rlhf_env.text.rows import ROW_KINDS, column_name, file_kind, read_objects, read_text
from rlhf_env.text.text_ids import chat_ids, is_chat, plain_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FORMATS = ".txt, .jsonl, .json (lines) or .parquet, optionally with .gz"


def read_prompts(source: Any, option: str, column: str | None = None) -> list[Any]:
    """Return the prompts alone of what `read_prompt_rows` reads."""
    return [row.prompt for row in read_prompt_rows(source, option, column)]


def read_prompt_rows(source: Any, option: str, column: str | None = None) -> list[PromptRow]:
    """Return the prompts of a list, a file, or a data set, each with its row's other columns.

    Args:
        source: a list of texts (or of token ids), a path to a text file (a prompt per line), a
            JSONL or Parquet file, a ``datasets.Dataset`` or a list of its rows, or a column of it.
        option: how the caller named this argument, for error messages.
        column: the field of a JSONL or Parquet row; "prompt", else "text", when None.

    Raises:
        ValueError: if the source cannot be read, naming file, line and the columns there are.
    """
    if not isinstance(source, str | Path):
        return _from_memory(source, option, column)
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{option} must be a list of texts or an existing file, got {str(path)!r}")
    kind = file_kind(path)
    if kind == ".txt":
        return [PromptRow(line) for line in read_text(path, option).split("\n") if line.strip()]
    if kind in ROW_KINDS:
        return _from_records(read_objects(path, option), option, column, repr(str(path)))
    raise ValueError(f"{option} must be a {_FORMATS} file, got {str(path)!r}")


def _from_memory(source: Any, option: str, column: str | None) -> list[PromptRow]:
    if isinstance(source, Mapping):
        raise ValueError(
            f"{option} must be one data set, got {type(source).__name__} of {list(source)}; "
            "choose one of them"
        )
    if not isinstance(source, Iterable):
        raise ValueError(f"{option} must be a list, a file or a data set column, got {source!r}")
    rows = list(source)
    if rows and all(isinstance(row, Mapping) for row in rows):
        return _from_records(rows, option, column, "the data set")
    return [row if isinstance(row, PromptRow) else PromptRow(row) for row in rows]


def _from_records(
    records: Sequence[Mapping[str, Any]], option: str, column: str | None, where: str
) -> list[PromptRow]:
    names = [column] if column else ["prompt", "text"]
    name = column_name(records, names, option, where)
    hidden = NOT_COLUMNS | {name}
    return [
        PromptRow(row[name], {key: value for key, value in row.items() if key not in hidden})
        for row in records
    ]


def encode_prompts(
    prompts: Sequence[Any],
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int,
    drop_long: bool = False,
) -> list[Tensor]:
    """Return the prompts' token ids, one int64 vector each.

    Texts get the special tokens that the tokenizer puts before a text, but no final EOS.

    Args:
        prompts: texts, lists of chat messages, or sequences of token ids; see `encode_prompt`.
        tokenizer: the policy's tokenizer.
        max_prompt_tokens: the longest prompt.
        drop_long: leave longer prompts out, with one warning that counts them.

    Raises:
        ValueError: if a prompt is neither text nor ids, is empty, or is too long and not dropped.
    """
    rows = [PromptRow(prompt) for prompt in prompts]
    return [ids for ids, _ in encode_rows(rows, tokenizer, max_prompt_tokens, drop_long)]


def encode_rows(
    rows: Sequence[PromptRow],
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int,
    drop_long: bool = False,
) -> list[tuple[Tensor, PromptRow]]:
    """Return the prompts' token ids as `encode_prompts` does, each with its row."""
    prompts = [row.prompt for row in rows]
    _warn_of_spelled_tokens(prompts, tokenizer)
    encoded = [encode_prompt(text, f"prompt {row}", tokenizer) for row, text in enumerate(prompts)]
    pairs = zip(encoded, rows, strict=True)
    fitting = [(ids, row) for ids, row in pairs if len(ids) <= max_prompt_tokens]
    dropped = len(encoded) - len(fitting)
    if dropped and not drop_long:
        row = next(i for i, ids in enumerate(encoded) if len(ids) > max_prompt_tokens)
        raise ValueError(
            f"prompt {row} has {len(encoded[row])} tokens, more than max_prompt_tokens = "
            f"{max_prompt_tokens}; shorten it or raise the limit"
        )
    if encoded and not fitting:
        raise ValueError(
            f"all {dropped} prompts are longer than max_prompt_tokens = {max_prompt_tokens}; "
            f"the shortest has {min(map(len, encoded))} tokens"
        )
    if dropped:
        warnings.warn(
            f"dropped {dropped} of {len(encoded)} prompts longer than {max_prompt_tokens} tokens",
            stacklevel=2,
        )
    return fitting


def encode_prompt(prompt: Any, name: str, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return the token ids of one prompt, an int64 vector with at least one id.

    What a text, or a message of a chat, spells out as a special token (``"</s>"``) stays text; only
    the tokenizer and its chat template put special tokens. To use others, pass token ids.

    Args:
        prompt: a text; a list of messages ``{"role": ..., "content": ...}``, which the tokenizer's
            chat template renders up to where the answer begins; or a sequence of token ids.
        name: what error messages call it.
        tokenizer: the policy's tokenizer.

    Raises:
        ValueError: if the prompt is none of these, has no token, or cannot be encoded.
    """
    if isinstance(prompt, str):
        ids = _text_ids(prompt, name, tokenizer)
    elif is_chat(prompt):
        ids = chat_ids(prompt, name, tokenizer)
    else:
        ids = _checked_ids(prompt, name, len(tokenizer))
    if not ids:
        raise ValueError(
            f"{name} has no tokens, got {prompt!r}; write at least one, "
            "or use a tokenizer that opens texts with a start token"
        )
    return torch.tensor(ids, dtype=torch.int64)


def _warn_of_spelled_tokens(prompts: Sequence[Any], tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenizer.all_special_tokens
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    spelled = sum(any(token in text for token in tokens) for text in texts)
    if spelled:
        warnings.warn(
            f"{spelled} of {len(prompts)} prompts spell out a special token (one of {tokens[:5]}), "
            "which is read as text; pass chat messages or token ids if you mean the token",
            stacklevel=3,
        )


def _text_ids(prompt: str, name: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    bare = plain_ids(prompt, name, tokenizer, add_special_tokens=False)
    ids = plain_ids(prompt, name, tokenizer)
    if len(ids) > max(len(bare), 1) and ids[-1] == tokenizer.eos_token_id:  # type: ignore[arg-type]
        ids.pop()
    return ids


def _checked_ids(prompt: Any, name: str, vocab_size: int) -> list[int]:
    try:
        # Arrays are copied: those of a Parquet file are not writable, which torch warns of.
        ids = torch.as_tensor(np.array(prompt) if isinstance(prompt, np.ndarray) else prompt)
    except (TypeError, ValueError, RuntimeError):
        ids = torch.zeros((), dtype=torch.float32)
    if ids.numel() == 0 and ids.ndim == 1:
        return []
    if ids.dtype not in (torch.int64, torch.int32) or ids.ndim != 1:
        raise ValueError(
            f"{name} must be a text or a list of token ids, got {reprlib.repr(prompt)}"
        )
    outside = ids[(ids < 0) | (ids >= vocab_size)]
    if len(outside):
        raise ValueError(
            f"{name} holds the id {int(outside[0])}, outside the vocabulary [0, {vocab_size})"
        )
    return ids.tolist()
