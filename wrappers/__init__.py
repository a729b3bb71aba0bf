"""Gymnasium wrappers for ``RLHF-v0``, each of which changes one thing; imported when first used.

`wrappers.vector` holds their twins for vector environments. A wrapper that changes rewards or time
also has ``rollout(rollout) -> rollout``: the same change, made to finished episodes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wrappers.every_k import EveryK
    from wrappers.macro_action import MacroAction
    from wrappers.potential_shaping import PotentialShaping
    from wrappers.prefix_difference import PrefixDifference
    from wrappers.prefix_reward import PrefixReward
    from wrappers.sequence_bandit import SequenceBandit
    from wrappers.terminal_reward import TerminalReward

__all__ = [
    "EveryK",
    "MacroAction",
    "PotentialShaping",
    "PrefixDifference",
    "PrefixReward",
    "SequenceBandit",
    "TerminalReward",
]

_HOMES = {
    "EveryK": "wrappers.every_k",
    "MacroAction": "wrappers.macro_action",
    "PotentialShaping": "wrappers.potential_shaping",
    "PrefixDifference": "wrappers.prefix_difference",
    "PrefixReward": "wrappers.prefix_reward",
    "SequenceBandit": "wrappers.sequence_bandit",
    "TerminalReward": "wrappers.terminal_reward",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    try:
        return importlib.import_module(f"wrappers.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module 'wrappers' has no attribute {name!r}") from None
