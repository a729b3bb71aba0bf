"""How densities and granularities are named on a command line, and the numbers in these names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlhf_env.checks import did_you_mean

DENSITIES = (
    "terminal",
    "every_k",
    "prefix_difference",
    "potential",
    "implicit",
    "process",
    "process_potential",
    "process_raw",
)
GRANULARITIES = (
    "token",
    "macro_N",
    "macro_punctuation",
    "macro_space_led",
    "macro_entropy_H",
    "turn",
    "bandit",
)
OF_TURNS = ("process", "process_potential", "process_raw", "turn")
NUMBERED = {
    "every_k": r"every_[1-9][0-9]{0,5}",
    "macro_N": r"macro_[1-9][0-9]{0,5}",
    "macro_entropy_H": r"macro_entropy_[0-9]{1,3}(\.[0-9]{1,6})?",
}
# Stem of a numbered name -> one of them.
EXAMPLES = {"macro_entropy": "macro_entropy_0.9", "macro": "macro_2", "every": "every_8"}


def check_name(what: str, got: str, choices: Sequence[str]) -> None:
    """Refuse a name that is neither a choice nor a numbered form of one.

    Args:
        what: how to call it in an error.
        got: the name.
        choices: the valid names; a capital is a placeholder for a number.

    Raises:
        ValueError: with the choices, and the nearest.
    """
    patterns = [NUMBERED[choice] for choice in choices if choice in NUMBERED]
    plain = [choice for choice in choices if not choice[-1].isupper()]
    if got in plain or any(re.fullmatch(pattern, got) for pattern in patterns):
        return
    forms = ", ".join(choices)
    hint = _number_hint(got.lower(), choices)
    if not hint:
        hint = did_you_mean(got, plain)
        examples = [
            example
            for stem, example in EXAMPLES.items()
            if any(choice in NUMBERED and choice.rpartition("_")[0] == stem for choice in choices)
        ]
        forms += f" (such as {' or '.join(examples)})" if examples else ""
    raise ValueError(f"{what} must be one of {forms}, got {got!r}{hint}")


def tokens_between_payments(density: str, every_k: int) -> int | None:
    """Return the tokens between two payments; None where the density has no such number.

    Args:
        density: a checked name.
        every_k: what k is in "every_k".
    """
    if density == "prefix_difference":
        return 1
    if not density.startswith("every_"):
        return None
    count = density.removeprefix("every_")
    return every_k if count == "k" else int(count)


def tokens_per_action(granularity: str) -> int | None:
    """Return the tokens of an action; None where the granularity has no such number."""
    is_numbered = re.fullmatch(NUMBERED["macro_N"], granularity)
    return int(granularity.removeprefix("macro_")) if is_numbered else None


def entropy_threshold(granularity: str) -> float | None:
    """Return the entropy at which an action ends, in nats; None for other granularities."""
    is_numbered = re.fullmatch(NUMBERED["macro_entropy_H"], granularity)
    return float(granularity.removeprefix("macro_entropy_")) if is_numbered else None


def _number_hint(got: str, choices: Sequence[str]) -> str:
    for stem, example in EXAMPLES.items():
        known = any(choice in NUMBERED and choice.rpartition("_")[0] == stem for choice in choices)
        if known and re.fullmatch(rf"{stem}(_[a-z]?|_?[-+.0-9]*)", got):
            return f"; write {stem}_ and a number, such as {example}"
    return ""
