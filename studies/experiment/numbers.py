"""Refusals of numbers that were typed, in the words of a command line."""

from __future__ import annotations

import math


def whole_number(name: str, value: int | None, least: int, most: int | None = None) -> None:
    """Refuse a count outside its range; None, for not given, is allowed.

    Args:
        name: the option or setting, as an error calls it.
        value: what was given.
        least: the smallest that is allowed.
        most: the largest that is allowed; None for any.

    Raises:
        ValueError: with the bound that is passed.
    """
    if value is not None and value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value}")
    if value is not None and most is not None and value > most:
        raise ValueError(f"{name} must be a whole number of at most {most}, got {value}")


def number(name: str, value: float | None, least: float, most: float = math.inf) -> None:
    """Refuse a number that is not finite or outside its range; None is allowed.

    Args:
        name: the option or setting, as an error calls it.
        value: what was given.
        least: the smallest that is allowed.
        most: the largest that is allowed.

    Raises:
        ValueError: with the range.
    """
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        bound = f"a finite number >= {least:g}"
        if most < math.inf:
            bound = f"a number from {least:g} to {most:g}"
        raise ValueError(f"{name} must be {bound}, got {value:g}")
