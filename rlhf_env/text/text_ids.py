"""Token ids of texts and of chats, in which only the tokenizer itself puts special tokens."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_env.text.chat_template import rendered_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def plain_ids(
    text: str, name: str, tokenizer: PreTrainedTokenizerBase, add_special_tokens: bool = True
) -> list[int]:
    """Return the token ids of a text; special tokens that it spells out are read as text.

    A vocabulary of whole words may know no other spelling of them.

    Args:
        text: any text.
        name: what error messages call it.
        tokenizer: whose ids.
        add_special_tokens: put those that the tokenizer puts around a text.

    Raises:
        ValueError: if the tokenizer cannot encode it.
    """
    options = {"add_special_tokens": add_special_tokens, "split_special_tokens": True}
    return list(encoded(text, name, tokenizer, **options)["input_ids"])


def plain_ids_of_each(
    texts: Sequence[str], name: str, tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    """Return what `plain_ids` does of several texts, which the tokenizer gets at once.

    Args:
        texts: any texts.
        name: what error messages call each of them.
        tokenizer: whose ids.

    Raises:
        ValueError: if the tokenizer cannot encode one of them.
    """
    if not texts:
        return []
    try:
        found = tokenizer(list(texts), verbose=False, split_special_tokens=True)
    except BaseException as error:
        if not _is_failure(error):
            raise
        # Alone, the text that cannot be encoded is the one that the message shows.
        return [plain_ids(text, name, tokenizer) for text in texts]
    return [list(ids) for ids in found["input_ids"]]


def encoded(text: str, name: str, tokenizer: PreTrainedTokenizerBase, **options: Any) -> Any:
    """Return what a tokenizer makes of a text.

    Args:
        text: any text.
        name: what error messages call it.
        tokenizer: whose ids.
        options: of the call.

    Raises:
        ValueError: if the tokenizer cannot encode it.
    """
    try:
        return tokenizer(text, verbose=False, **options)
    except (TypeError, UnicodeEncodeError) as error:
        # Half of a surrogate pair is a legal Python character but not text.
        raise ValueError(f"{name} is not valid Unicode, got {reprlib.repr(text)}") from error
    except BaseException as error:
        if not _is_failure(error):
            raise
        # The library has no exceptions of its own: a vocabulary that lacks a word raises this one.
        raise ValueError(
            f"{name} cannot be encoded, got {reprlib.repr(text)}: {str(error)[:120]}"
        ) from error


def _is_failure(error: BaseException) -> bool:
    """Return whether an error is the tokenizer's; a panic of its Rust code is no Exception.

    Its regular expression may need more steps for a text than their library allows.
    """
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"


def is_chat(prompt: Any) -> bool:
    """Return whether a prompt is a list of messages, which are dictionaries."""
    rows = prompt.tolist() if isinstance(prompt, np.ndarray) else prompt
    return isinstance(rows, list | tuple) and len(rows) > 0 and isinstance(rows[0], Mapping)


def chat_ids(
    messages: Sequence[Mapping[str, Any]],
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    add_generation_prompt: bool = True,
) -> list[int]:
    """Return the token ids of a chat as the tokenizer's template renders it.

    The template puts all special tokens, the one at the start included, and the tokenizer adds
    none. Those that a message spells out are read as text.

    Args:
        messages: each with a text under "role" and one under "content".
        name: what error messages call them.
        tokenizer: whose template.
        add_generation_prompt: end where the assistant's answer begins.

    Raises:
        ValueError: if the tokenizer has no template, or the template refuses the messages or goes
            beyond the limits of `rlhf_env.text.chat_template`.
    """
    if tokenizer.chat_template is None:
        raise ValueError(
            f"{name} is a list of messages, but the tokenizer has no chat template; "
            "pass a text, or set tokenizer.chat_template"
        )
    for message in messages:
        texts = message if isinstance(message, Mapping) else {}
        if not all(isinstance(texts.get(key), str) for key in ("role", "content")):
            raise ValueError(
                f"{name} must have messages with a text under 'role' and 'content', "
                f"got {reprlib.repr(message)}"
            )
    sanitizing = _sanitizing(messages, name, tokenizer)
    try:
        return rendered_ids(
            messages, tokenizer, add_generation_prompt=add_generation_prompt, **sanitizing
        )
    except BaseException as error:
        if not _is_failure(error):
            raise
        # Templates are programs: they raise what they like, mostly about the order of roles.
        reason = "it takes too much memory" if isinstance(error, MemoryError) else str(error)[:200]
        raise ValueError(
            f"{name} cannot be rendered by the tokenizer's chat template: {reason}"
        ) from error


def _sanitizing(
    messages: Sequence[Mapping[str, Any]], name: str, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """Return the arguments under which a template reads spelled-out special tokens as text.

    Releases of transformers that do not know how hand the argument on to the template, which
    ignores it; there such messages are refused instead.
    """
    if "sanitize_control_tokens" in inspect.signature(tokenizer.apply_chat_template).parameters:
        return {"sanitize_control_tokens": True}
    for message in messages:
        for token in tokenizer.all_special_tokens:
            if token in message["content"]:
                raise ValueError(
                    f"{name} spells out the special token {token!r}, which this version of "
                    "transformers cannot read as text; remove it, or install a newer one"
                )
    return {}
