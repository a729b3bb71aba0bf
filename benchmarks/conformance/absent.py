"""Importing one function of a library whose other parts need packages for GPUs."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from unittest.mock import MagicMock


@contextlib.contextmanager
def stand_ins(*packages: str) -> Iterator[None]:
    """Put empty modules in place of packages that are not installed, while something is imported.

    The functions that are checked use none of them.
    """
    added = []
    for name in packages:
        top = name.partition(".")[0]
        if name not in sys.modules and (top in added or importlib.util.find_spec(top) is None):
            module = MagicMock(name=name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            sys.modules[name] = module
            added.append(name)
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)
