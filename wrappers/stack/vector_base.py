"""The base class of the vector wrappers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorWrapper

# Gymnasium 1.2 and 1.3 have no ``VectorWrapper[...]`` at run time.
if TYPE_CHECKING:
    VectorBase = VectorWrapper[Any, Any, Any, Any, Any]
else:
    VectorBase = VectorWrapper
