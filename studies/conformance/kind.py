"""What a name of the command line stands for, and of which kind it is."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium as gym

from agents.agent import Agent
from agents.settings import BUILT_IN_AGENTS
from rlhf_env.rewards.protocol import takes_texts
from rlhf_env.task import Task
from rlhf_env.tasks import is_task_name
from rlhf_env.testing import TrainerLoss
from studies.experiment.references import import_from_file, import_object


def named_thing(name: str, kind: str | None) -> Any:
    """Return what a name stands for.

    Args:
        name: ``module:name``, ``file.py:name``, or a built-in task or agent.
        kind: what it is meant to be, which tells an environment's id.

    Raises:
        ValueError: if there is no such thing.
    """
    if is_task_name(name) or (kind == "env" and ":" not in name):
        return name
    if name in BUILT_IN_AGENTS:
        return BUILT_IN_AGENTS[name].load()
    if name.rpartition(":")[0].endswith(".py"):
        return import_from_file(name, "what is checked")
    return import_object(name, "what is checked")


def kind_of(thing: Any) -> str:
    """Return of which kind a thing is.

    Raises:
        ValueError: if that cannot be told from the thing.
    """
    if isinstance(thing, str | Task):
        return "task"
    if isinstance(thing, TrainerLoss):
        return thing.kind
    kind = thing if inspect.isclass(thing) else type(thing)
    if issubclass(kind, Agent):
        return "agent"
    if issubclass(kind, gym.Wrapper):
        return "wrapper"
    if issubclass(kind, gym.Env):
        return "env"
    if hasattr(kind, "targets") and hasattr(kind, "loss"):
        return "algorithm"
    if hasattr(kind, "act") and hasattr(kind, "update"):
        return "agent"
    if hasattr(kind, "prefix_scores") or (callable(thing) and _scores_responses(thing)):
        return "reward"
    raise ValueError(
        f"cannot tell what {getattr(thing, '__name__', kind.__name__)} is; say it by --kind"
    )


def _scores_responses(thing: Any) -> bool:
    """Whether it takes prompts and responses."""
    if inspect.isclass(thing):
        return False
    names = list(inspect.signature(thing).parameters)[:2]
    return names == ["prompts", "responses"] or (takes_texts(thing) and len(names) == 2)
