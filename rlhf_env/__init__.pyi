__all__: list[str]

from . import exact as exact
from . import kl as kl
from . import rewards as rewards
from . import tasks as tasks
from . import testing as testing
from .rollout import Rollout as Rollout
from .task import Task as Task
from .tasks import load_task as load_task
from .tasks import register_task as register_task
from .tasks import task_names as task_names

__version__: str
