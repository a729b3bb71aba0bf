"""The base class of the vector wrappers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium.vector import VectorWrapper

# Gymnasium 1.2 and 1.3 have no ``VectorWrapper[...]`` at run time.
if TYPE_CHECKING:
    _VectorWrapper = VectorWrapper[Any, Any, Any, Any, Any]
else:
    _VectorWrapper = VectorWrapper


class VectorBase(_VectorWrapper):
    """A vector wrapper of this project."""

    treats_episodes_apart: ClassVar[bool] = True
    """Whether ``rollout`` gives each episode what it would give it alone, and does nothing else;
    several processes can then each transform their own episodes."""
