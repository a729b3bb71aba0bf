"""What counts as a prompt and as a response in feedback data, and checks of both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

# A text, or the messages of a chat, each with a text under "role" and one under "content".
Prompt: TypeAlias = str | tuple[Mapping[str, str], ...]


class UnusableResponse(ValueError):
    """A response that is empty or not a text: its row can be left out, and is counted."""


def prompt_text(prompt: Prompt) -> str:
    """Return a prompt as one text; a chat as its messages in JSON."""
    return prompt if isinstance(prompt, str) else json.dumps([dict(m) for m in prompt])


def check_prompt(prompt: Any) -> None:
    """Raise ValueError unless a prompt is a text or the messages of a chat."""
    is_chat = isinstance(prompt, tuple) and prompt and all(isinstance(m, Mapping) for m in prompt)
    if not isinstance(prompt, str) and not is_chat:
        raise ValueError(f"prompt must be a text or a list of messages, got {prompt!r:.60}")
    _check_unicode("prompt", prompt_text(prompt))


def check_response(name: str, text: Any) -> None:
    """Raise ValueError unless a response is a text with something in it."""
    if not isinstance(text, str):
        raise UnusableResponse(f"{name} must be a text, got {text!r:.60}")
    if not text.strip():
        raise UnusableResponse(f"{name} must not be empty, got {text!r:.60}")
    _check_unicode(name, text)


def check_finite(name: str, value: Any) -> None:
    """Raise ValueError unless a value is a finite number."""
    if not is_finite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r:.60}")


def _check_unicode(name: str, text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        # Half of a surrogate pair is a legal Python character but not text.
        raise ValueError(f"{name} must be valid Unicode, got {text!r:.60}") from error


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number; a boolean is not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_several(responses: Sequence[str]) -> None:
    """Raise ValueError unless there are two responses or more, each of which can be used."""
    if len(responses) < 2:
        raise ValueError(f"responses must be at least 2 to compare, got {len(responses)}")
    for number, response in enumerate(responses, start=1):
        check_response(f"response {number} of responses", response)
