"""Rendering chats within limits: a chat template is a program, and comes with the tokenizer.

Jinja's sandbox keeps it from files and the network, but not from looping for ever or from building
texts of gigabytes. A child process for every template would stop that too; but rewards and judges
render a chat per response, so the limits are set around the call instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rlhf_env.limits import call_within, memory_limit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_SECONDS = 10.0
"""What rendering and encoding one chat may take."""

MAX_MEMORY = 1 << 30
"""Bytes that rendering one chat may take, where the system is Linux."""

MAX_CHARACTERS = 1 << 22
"""Of one rendered chat."""


def rendered_ids(
    messages: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, **options: Any
) -> list[int]:
    """Return the token ids of a chat as the tokenizer's template renders it.

    Args:
        messages: each with "role" and "content".
        tokenizer: whose template.
        options: of ``tokenizer.apply_chat_template``.

    Raises:
        TimeoutError: after `MAX_SECONDS`.
        MemoryError: at `MAX_MEMORY`.
        ValueError: for more than `MAX_CHARACTERS`.
        Exception: whatever else the template or the tokenizer raises.
    """
    ids = call_within(MAX_SECONDS, _rendered_ids, messages, tokenizer, options)
    return list(ids)


def _rendered_ids(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    options: dict[str, Any],
) -> Any:
    with ExitStack() as limits:
        limits.enter_context(memory_limit(MAX_MEMORY))
        # Tokenizers abort the whole process where memory is refused: the limit ends before.
        view = _checking_length(tokenizer, before=limits.close)
        return view.apply_chat_template(
            [dict(message) for message in messages], return_dict=False, **options
        )


def _checking_length(
    tokenizer: PreTrainedTokenizerBase, before: Callable[[], None]
) -> PreTrainedTokenizerBase:
    """Return the tokenizer, which calls ``before`` and checks the length before it encodes."""

    class View(type(tokenizer)):
        def __call__(self, text: str, *arguments: Any, **options: Any) -> Any:
            before()
            if len(text) > MAX_CHARACTERS:
                raise ValueError(
                    f"it writes {len(text)} characters, more than the limit of {MAX_CHARACTERS}"
                )
            return super().__call__(text, *arguments, **options)

    view = object.__new__(View)
    view.__dict__ = tokenizer.__dict__
    return view
