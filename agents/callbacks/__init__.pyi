__all__: list[str]

from .best import KeepBest as KeepBest
from .best import best_checkpoint as best_checkpoint
from .early_warning import EarlyWarning as EarlyWarning
from .early_warning import in_turn as in_turn
from .signals import SIGNALS as SIGNALS
from .signals import Limits as Limits
