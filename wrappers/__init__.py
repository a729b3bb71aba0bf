"""Gymnasium wrappers for ``RLHF-v0``, each of which changes one thing; imported when first used.

`wrappers.vector` holds their vector versions. A wrapper that changes rewards or time also has
``rollout(rollout) -> rollout``: the same change, applied to finished episodes.
`wrappers.reward_terms` has the building blocks for reward wrappers of your own.
"""

from __future__ import annotations

import lazy_loader

from rlhf_env import deprecated_modules

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

deprecated_modules.install()
