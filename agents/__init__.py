"""Agents that learn in the token MDP, and the parts to build others from."""

from __future__ import annotations

import lazy_loader

from rlhf_env import deprecated_modules

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

deprecated_modules.install()
