"""An episode as colored text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlhf_env.task import Task

_GREEN, _RED, _DIM, _END = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


def ansi(task: Task, prompt: Tensor, response: Tensor, steps: Sequence[dict[str, float]]) -> str:
    """Return prompt and response, one token a line with its reward terms.

    Green tokens were paid, red ones cost. Control characters that a model wrote are shown
    escaped, so that text can never steer the terminal.

    Args:
        task: whose tokenizer turns ids into text.
        prompt: [P] ids.
        response: [T] ids.
        steps: the reward terms of each response token.
    """
    lines = [f"{_DIM}prompt{_END} {printable(task.decode(prompt))}"]
    for token, terms in zip(response, steps, strict=True):
        text = printable(str(task.tokenizer.decode(token.reshape(1))))
        color = _GREEN if sum(terms.values()) >= 0 else _RED
        paid = "  ".join(f"{name} {value:+.4f}" for name, value in terms.items())
        lines.append(f"{color}{text:<16}{_END} {_DIM}{paid}{_END}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Return text with everything that is not printable written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
