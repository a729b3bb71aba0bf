"""Gymnasium wrappers for ``RLHF-v0``, each of which changes one thing; imported when first used.

`wrappers.vector` holds their twins for vector environments. A wrapper that changes rewards or time
also has ``rollout(rollout) -> rollout``: the same change, made to finished episodes.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
