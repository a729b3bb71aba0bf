"""Reward terms: the building blocks of wrappers that change rewards, and how to write your own.

A term is written once, as a function of responses, and works for single environments, for vector
environments and for finished rollouts. See ``docs/write-a-wrapper.md``.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
