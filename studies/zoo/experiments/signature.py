"""Which settings rows are of: a digest of an experiment, functions by their source."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any


def digest(experiment: object) -> str:
    """Return 8 hexadecimal digits that change when anything of an experiment does.

    Args:
        experiment: a dataclass of numbers, texts, mappings, functions, and dataclasses.
    """
    return hashlib.sha256(signature(experiment).encode()).hexdigest()[:8]


def signature(value: object) -> str:
    """Return a value as a text, equal for equal values in every process.

    Fields at their defaults are left out: rows stay good when a later version adds one.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = [field for field in dataclasses.fields(value) if not _is_default(value, field)]
        fields = {field.name: getattr(value, field.name) for field in given}
        return f"{type(value).__name__}({signature(fields)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {signature(part)}" for name, part in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(signature, value)) + ")"
    if inspect.isfunction(value) or isinstance(value, type):
        return inspect.getsource(value)
    return repr(value)


def _is_default(value: object, field: dataclasses.Field[Any]) -> bool:
    usual = field.default
    if field.default_factory is not dataclasses.MISSING:
        usual = field.default_factory()
    return usual is not dataclasses.MISSING and bool(getattr(value, field.name) == usual)
