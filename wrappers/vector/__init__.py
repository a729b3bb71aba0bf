"""Twins of `wrappers` for ``gym.make_vec("RLHF-v0")``: same names, arguments and numbers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wrappers.boundaries import high_reference_entropy, punctuation, space_led
    from wrappers.vector.decoded_text import DecodedText
    from wrappers.vector.every_k import EveryK
    from wrappers.vector.hidden_state import HiddenState
    from wrappers.vector.length_penalty import LengthPenalty
    from wrappers.vector.macro_action import MacroAction
    from wrappers.vector.normalize_score import NormalizeScore
    from wrappers.vector.overlong_penalty import OverlongPenalty
    from wrappers.vector.potential_shaping import PotentialShaping
    from wrappers.vector.prefix_difference import PrefixDifference
    from wrappers.vector.prefix_reward import PrefixReward
    from wrappers.vector.record_episodes import RecordEpisodes
    from wrappers.vector.repetition_penalty import RepetitionPenalty
    from wrappers.vector.sequence_bandit import SequenceBandit
    from wrappers.vector.terminal_reward import TerminalReward
    from wrappers.vector.token_reward import TokenReward
    from wrappers.vector.top_k_actions import TopKActions

__all__ = [
    "DecodedText",
    "EveryK",
    "HiddenState",
    "LengthPenalty",
    "MacroAction",
    "NormalizeScore",
    "OverlongPenalty",
    "PotentialShaping",
    "PrefixDifference",
    "PrefixReward",
    "RecordEpisodes",
    "RepetitionPenalty",
    "SequenceBandit",
    "TerminalReward",
    "TokenReward",
    "TopKActions",
    "high_reference_entropy",
    "punctuation",
    "space_led",
]

_HOMES = {
    "DecodedText": "wrappers.vector.decoded_text",
    "EveryK": "wrappers.vector.every_k",
    "HiddenState": "wrappers.vector.hidden_state",
    "LengthPenalty": "wrappers.vector.length_penalty",
    "MacroAction": "wrappers.vector.macro_action",
    "NormalizeScore": "wrappers.vector.normalize_score",
    "OverlongPenalty": "wrappers.vector.overlong_penalty",
    "PotentialShaping": "wrappers.vector.potential_shaping",
    "PrefixDifference": "wrappers.vector.prefix_difference",
    "PrefixReward": "wrappers.vector.prefix_reward",
    "RecordEpisodes": "wrappers.vector.record_episodes",
    "RepetitionPenalty": "wrappers.vector.repetition_penalty",
    "SequenceBandit": "wrappers.vector.sequence_bandit",
    "TerminalReward": "wrappers.vector.terminal_reward",
    "TokenReward": "wrappers.vector.token_reward",
    "TopKActions": "wrappers.vector.top_k_actions",
    "high_reference_entropy": "wrappers.boundaries",
    "punctuation": "wrappers.boundaries",
    "space_led": "wrappers.boundaries",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    try:
        return importlib.import_module(f"wrappers.vector.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module 'wrappers.vector' has no attribute {name!r}") from None
