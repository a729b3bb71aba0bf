__all__: list[str]

from .density import Density as Density
from .density import ScoredPrefixes as ScoredPrefixes
from .density_wrapper import DensityWrapper as DensityWrapper
from .density_wrapper import VectorDensityWrapper as VectorDensityWrapper
from .prefix_scores import PrefixScorer as PrefixScorer
from .prefix_scores import StateScorer as StateScorer
from .reward_term import Responses as Responses
from .reward_term import RewardTerm as RewardTerm
from .reward_term_wrapper import RewardTermWrapper as RewardTermWrapper
from .reward_term_wrapper import VectorRewardTermWrapper as VectorRewardTermWrapper
from .token_terms import token_term as token_term
