__all__: list[str]

from . import vector as vector
from .action_masks import ActionMasks as ActionMasks
from .boundaries import high_reference_entropy as high_reference_entropy
from .boundaries import punctuation as punctuation
from .boundaries import space_led as space_led
from .decoded_text import DecodedText as DecodedText
from .every_k import EveryK as EveryK
from .every_k import PrefixDifference as PrefixDifference
from .hidden_state import HiddenState as HiddenState
from .implicit_reward import ImplicitReward as ImplicitReward
from .length_penalty import LengthPenalty as LengthPenalty
from .length_penalty import OverlongPenalty as OverlongPenalty
from .macro_action import MacroAction as MacroAction
from .normalize_score import NormalizeScore as NormalizeScore
from .numeric_info import NumericInfo as NumericInfo
from .potential_shaping import PotentialShaping as PotentialShaping
from .prefix_reward import PrefixReward as PrefixReward
from .process_reward import ProcessPotential as ProcessPotential
from .process_reward import ProcessReward as ProcessReward
from .process_reward import RawProcessReward as RawProcessReward
from .record_episodes import RecordEpisodes as RecordEpisodes
from .repetition_penalty import RepetitionPenalty as RepetitionPenalty
from .sequence_bandit import SequenceBandit as SequenceBandit
from .terminal_reward import TerminalReward as TerminalReward
from .token_reward import TokenReward as TokenReward
from .top_k_actions import TopKActions as TopKActions
