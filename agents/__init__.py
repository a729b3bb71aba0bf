"""Agents that learn in the token MDP, and the parts to build others from."""

from __future__ import annotations

import lazy_loader

from rlhf_env import deprecated_modules

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = deprecated_modules.renamed(__name__, {"Description": "PolicyOutput"}, _load)

deprecated_modules.install()
