"""Twins of `wrappers` for ``gym.make_vec("RLHF-v0")``: same names, arguments and numbers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wrappers.vector.every_k import EveryK
    from wrappers.vector.macro_action import MacroAction
    from wrappers.vector.potential_shaping import PotentialShaping
    from wrappers.vector.prefix_difference import PrefixDifference
    from wrappers.vector.prefix_reward import PrefixReward
    from wrappers.vector.sequence_bandit import SequenceBandit
    from wrappers.vector.terminal_reward import TerminalReward

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
    "EveryK": "wrappers.vector.every_k",
    "MacroAction": "wrappers.vector.macro_action",
    "PotentialShaping": "wrappers.vector.potential_shaping",
    "PrefixDifference": "wrappers.vector.prefix_difference",
    "PrefixReward": "wrappers.vector.prefix_reward",
    "SequenceBandit": "wrappers.vector.sequence_bandit",
    "TerminalReward": "wrappers.vector.terminal_reward",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    try:
        return importlib.import_module(f"wrappers.vector.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module 'wrappers.vector' has no attribute {name!r}") from None
