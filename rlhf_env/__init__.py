"""Token-level RLHF as a Gymnasium environment.

Importing registers ``RLHF-v0`` and nothing else: no model is loaded, no file is opened, and
torch is imported when a name that needs it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import gymnasium as gym

if TYPE_CHECKING:
    from rlhf_env.rollout import Rollout
    from rlhf_env.task import Task
    from rlhf_env.tasks import load_task, register_task, task_names

__version__ = "0.1.0"
__all__ = ["Rollout", "Task", "load_task", "register_task", "task_names"]

_HOMES = {
    "Rollout": "rlhf_env.rollout",
    "Task": "rlhf_env.task",
    "load_task": "rlhf_env.tasks",
    "register_task": "rlhf_env.tasks",
    "task_names": "rlhf_env.tasks",
}

if "RLHF-v0" not in gym.registry:
    gym.register(
        id="RLHF-v0",
        entry_point="rlhf_env.env:RLHFEnv",
        vector_entry_point="rlhf_env.vector_env:RLHFVectorEnv",
    )


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    try:
        return importlib.import_module(f"rlhf_env.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module 'rlhf_env' has no attribute {name!r}") from None
