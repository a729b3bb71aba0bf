"""The wrappers for ``gym.make_vec("RLHF-v0")``: names, arguments and numbers of `wrappers`.

Each is defined beside its single version: ``wrappers.vector.EveryK`` is
``wrappers.every_k.VectorEveryK``.
"""

from __future__ import annotations

from wrappers.action_masks import VectorActionMasks as ActionMasks
from wrappers.boundaries import high_reference_entropy, punctuation, space_led
from wrappers.decoded_text import VectorDecodedText as DecodedText
from wrappers.every_k import VectorEveryK as EveryK
from wrappers.every_k import VectorPrefixDifference as PrefixDifference
from wrappers.hidden_state import VectorHiddenState as HiddenState
from wrappers.implicit_reward import VectorImplicitReward as ImplicitReward
from wrappers.length_penalty import VectorLengthPenalty as LengthPenalty
from wrappers.length_penalty import VectorOverlongPenalty as OverlongPenalty
from wrappers.macro_action import VectorMacroAction as MacroAction
from wrappers.normalize_score import VectorNormalizeScore as NormalizeScore
from wrappers.numeric_info import VectorNumericInfo as NumericInfo
from wrappers.potential_shaping import VectorPotentialShaping as PotentialShaping
from wrappers.prefix_reward import VectorPrefixReward as PrefixReward
from wrappers.process_reward import VectorProcessPotential as ProcessPotential
from wrappers.process_reward import VectorProcessReward as ProcessReward
from wrappers.process_reward import VectorRawProcessReward as RawProcessReward
from wrappers.record_episodes import VectorRecordEpisodes as RecordEpisodes
from wrappers.repetition_penalty import VectorRepetitionPenalty as RepetitionPenalty
from wrappers.sequence_bandit import VectorSequenceBandit as SequenceBandit
from wrappers.terminal_reward import VectorTerminalReward as TerminalReward
from wrappers.token_reward import VectorTokenReward as TokenReward
from wrappers.top_k_actions import VectorTopKActions as TopKActions

__all__ = [
    "ActionMasks",
    "DecodedText",
    "EveryK",
    "HiddenState",
    "ImplicitReward",
    "LengthPenalty",
    "MacroAction",
    "NormalizeScore",
    "NumericInfo",
    "OverlongPenalty",
    "PotentialShaping",
    "PrefixDifference",
    "PrefixReward",
    "ProcessPotential",
    "ProcessReward",
    "RawProcessReward",
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
