"""Exact answers for enumerable tasks: the optimal policy, values, J*, and any policy's return."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
