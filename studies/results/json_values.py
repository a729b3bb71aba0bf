"""Values as JSON can hold them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def as_json(value: Any) -> str:
    """Return plain values as JSON in one line, with null for a number that is not finite."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(finite_or_null(value), ensure_ascii=False, allow_nan=False)


def finite_or_null(value: Any) -> Any:
    """Return plain values in which a number that is not finite, which JSON lacks, is None."""
    if isinstance(value, Mapping):
        return {name: finite_or_null(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
