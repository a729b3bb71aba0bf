"""Discounts: one for all rewards together, or one for each reward term."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from rlhf_env.checks import check_choice, check_number

Discount = float | Mapping[str, float]

GRADIENT_FORMS = ("standard", "discounted")
"""Which policy gradient a discount gives; see `agents.rollouts.discounting`."""

RETURN = "return"
"""Name of the only output of a critic under a single discount."""

FORMER_FORM = "usual"


def check_discount(gamma: Discount) -> None:
    """Raise ValueError unless ``gamma`` is in [0, 1], or names terms with such numbers."""
    if not isinstance(gamma, Mapping):
        check_number("gamma", gamma, minimum=0.0, maximum=1.0)
        return
    if not gamma:
        raise ValueError('gamma must be a number or name reward terms, as {"score": 1.0}, got {}')
    for name, discount in gamma.items():
        check_number(f"gamma[{name!r}]", discount, minimum=0.0, maximum=1.0)


def discount_of(config: Any) -> tuple[Discount, str]:
    """Return the discount of an agent's settings and what it is per; 1 where it has none."""
    return getattr(config, "gamma", 1.0), getattr(config, "discount_unit", "decision")


def value_names(gamma: Discount) -> tuple[str, ...]:
    """Return the names of a critic's outputs: the return, or each reward term."""
    return tuple(gamma) if isinstance(gamma, Mapping) else (RETURN,)


def check_gradient_form(config: Any) -> None:
    """Check ``config.gradient_form``, of a frozen dataclass; the former name is replaced.

    Raises:
        ValueError: unless it is one of `GRADIENT_FORMS`.
    """
    if config.gradient_form == FORMER_FORM:
        warnings.warn(
            f'gradient_form="{FORMER_FORM}" is now called "standard"; the old name will go with '
            "the next version",
            DeprecationWarning,
            stacklevel=4,
        )
        object.__setattr__(config, "gradient_form", "standard")
    check_choice("gradient_form", config.gradient_form, GRADIENT_FORMS)
