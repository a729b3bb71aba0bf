__all__: list[str]

from .claims import Check as Check
from .claims import CheckList as CheckList
from .claims import ConformanceError as ConformanceError
from .claims import NotApplicable as NotApplicable
from .claims import Result as Result
from .claims import expect as expect
from .claims import raise_failures as raise_failures
from .claims import run_checks as run_checks
from .losses.subject import INPUTS as INPUTS
from .losses.subject import TrainerLoss as TrainerLoss
from .suite import check_agent as check_agent
from .suite import check_algorithm as check_algorithm
from .suite import check_env as check_env
from .suite import check_reward as check_reward
from .suite import check_task as check_task
from .suite import check_trainer_loss as check_trainer_loss
from .suite import check_wrapper as check_wrapper
from .suite import checks as checks
from .suite import kinds as kinds
from .suite import results as results
from .suite import subject as subject
from .suite import trainer_loss_results as trainer_loss_results
