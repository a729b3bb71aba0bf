"""Gymnasium wrappers for ``RLHF-v0``, each of which changes one thing; imported when first used.

`wrappers.vector` holds their twins for vector environments. A wrapper that changes rewards or time
also has ``rollout(rollout) -> rollout``: the same change, made to finished episodes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wrappers.boundaries import high_reference_entropy, punctuation, space_led
    from wrappers.decoded_text import DecodedText
    from wrappers.every_k import EveryK
    from wrappers.hidden_state import HiddenState
    from wrappers.length_penalty import LengthPenalty
    from wrappers.macro_action import MacroAction
    from wrappers.normalize_score import NormalizeScore
    from wrappers.overlong_penalty import OverlongPenalty
    from wrappers.potential_shaping import PotentialShaping
    from wrappers.prefix_difference import PrefixDifference
    from wrappers.prefix_reward import PrefixReward
    from wrappers.record_episodes import RecordEpisodes
    from wrappers.repetition_penalty import RepetitionPenalty
    from wrappers.sequence_bandit import SequenceBandit
    from wrappers.terminal_reward import TerminalReward
    from wrappers.token_reward import TokenReward
    from wrappers.top_k_actions import TopKActions

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
    "DecodedText": "wrappers.decoded_text",
    "EveryK": "wrappers.every_k",
    "HiddenState": "wrappers.hidden_state",
    "LengthPenalty": "wrappers.length_penalty",
    "MacroAction": "wrappers.macro_action",
    "NormalizeScore": "wrappers.normalize_score",
    "OverlongPenalty": "wrappers.overlong_penalty",
    "PotentialShaping": "wrappers.potential_shaping",
    "PrefixDifference": "wrappers.prefix_difference",
    "PrefixReward": "wrappers.prefix_reward",
    "RecordEpisodes": "wrappers.record_episodes",
    "RepetitionPenalty": "wrappers.repetition_penalty",
    "SequenceBandit": "wrappers.sequence_bandit",
    "TerminalReward": "wrappers.terminal_reward",
    "TokenReward": "wrappers.token_reward",
    "TopKActions": "wrappers.top_k_actions",
    "high_reference_entropy": "wrappers.boundaries",
    "punctuation": "wrappers.boundaries",
    "space_led": "wrappers.boundaries",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    try:
        return importlib.import_module(f"wrappers.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module 'wrappers' has no attribute {name!r}") from None
