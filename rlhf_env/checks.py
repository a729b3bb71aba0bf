"""Checks of arguments, with one sentence that states what is wrong and what is expected.

Imports neither torch nor a model, so that a command line can check what was typed at once.
"""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any


def check_number(
    name: str, value: Any, *, minimum: float = -math.inf, maximum: float = math.inf
) -> None:
    """Raise ValueError unless ``value`` is a finite number within bounds."""
    if not _is_finite(value) or not minimum <= float(value) <= maximum:
        bounds = f"a finite number >= {minimum:g}"
        if maximum < math.inf:
            bounds = f"a number in [{minimum:g}, {maximum:g}]"
        raise ValueError(f"{name} must be {bounds}, got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a finite number above 0."""
    if not _is_finite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number greater than 0, got {value!r}")


def check_count(name: str, value: Any, minimum: int = 1) -> None:
    """Raise ValueError unless ``value`` is an integer >= ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of some names."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}, got {value!r}")


def check_takes(name: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """Raise ValueError unless ``function`` can be called with these arguments, by position.

    One written in C may not tell what it takes; it passes.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        own = getattr(function, "__name__", type(function).__name__)
        raise ValueError(
            f"{name} must take ({', '.join(arguments)}), got {own}{signature}: {error}"
        ) from None


def did_you_mean(got: str, choices: Iterable[str], *, similarity: float = 0.6) -> str:
    """Return the end of an error message that names the choice nearest to a misspelled one.

    Args:
        got: the unknown name.
        choices: the known names; capitals are ignored in the comparison.
        similarity: the least `difflib.SequenceMatcher` ratio, in [0, 1], that counts as near.

    Returns:
        ``"; did you mean 'name'?"``, or an empty text if no choice is near.
    """
    spelling = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(str(got).lower(), spelling, n=1, cutoff=similarity)
    return f"; did you mean {spelling[near[0]]!r}?" if near else ""


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False
