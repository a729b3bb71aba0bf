"""An episode as colored text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlhf_env.task import Task

_GREEN, _RED, _DIM, _END = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


def ansi(
    task: Task,
    prompt: Tensor,
    history: Tensor,
    is_action: Tensor,
    steps: Sequence[dict[str, float]],
) -> str:
    """Return the prompt and what was said since, one token a line with its reward terms.

    Green tokens were paid, red ones cost, dim ones are the environment's. Control
    characters that a model wrote are shown escaped, so that text can never steer the terminal.

    Args:
        task: whose tokenizer turns ids into text.
        prompt: [P] ids.
        history: [H] ids.
        is_action: [H] bool, the tokens that the agent chose.
        steps: the reward terms of each action.
    """
    lines = [f"{_DIM}prompt{_END} {printable(task.decode(prompt))}"]
    paid_for = iter(steps)
    for token, is_own in zip(history, is_action.tolist(), strict=True):
        text = printable(str(task.tokenizer.decode(token.reshape(1))))
        if not is_own:
            lines.append(f"{_DIM}{text}{_END}")
            continue
        terms = next(paid_for)
        color = _GREEN if sum(terms.values()) >= 0 else _RED
        paid = "  ".join(f"{name} {value:+.4f}" for name, value in terms.items())
        lines.append(f"{color}{text:<16}{_END} {_DIM}{paid}{_END}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Return text with everything that is not printable written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
