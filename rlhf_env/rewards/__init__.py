"""Rewards: functions that score responses.

Every name is imported when it is first used: those that need no model bring none in.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
