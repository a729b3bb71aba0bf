"""What must hold before several processes train one agent together."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agents.processes.exchange import check_same
from agents.processes.group import count, is_first
from agents.replay.rows import fields_of
from agents.training.checkpoints.checkpoint import SavedAgent
from agents.training.checkpoints.weights_digest import weights_digest


def check_divisible(agent: object) -> None:
    """Refuse an agent whose ``update`` would train a model of its own in every process.

    Raises:
        ValueError: if there are several processes, and it is not an agent of this package.
    """
    if count() == 1 or isinstance(agent, SavedAgent):
        return
    raise ValueError(
        f"agent must be an agents.Agent to learn in {count()} processes, if need be with a "
        f"learning rule of its own, got {type(agent).__name__}, whose update(rollout) would train "
        "a model in each; start it with python instead of a launcher"
    )


def check_same_start(agent: Any) -> None:
    """Refuse processes that were started with different tasks, settings or weights.

    Raises:
        ValueError: naming what differs, and in which process.
    """
    if count() == 1 or not isinstance(agent, SavedAgent):
        return
    task, fix = agent.base.task, "start all of them with the same command, files and libraries"
    prompts = hashlib.sha256()
    for prompt in (*task.prompts, *task.eval_prompts):
        prompts.update(prompt.cpu().numpy().tobytes() + b";")
    reference = agent.base.mdp.reference.model
    check_same("the settings", repr(agent.config), fix)
    check_same("the prompts", prompts.hexdigest(), fix)
    check_same("the reference model", weights_digest(reference.named_parameters()), fix)
    check_same("the policy", weights_digest(agent.policy.named_parameters()), fix)
    check_same("the number of updates done", agent.updates, fix)
    if (replay := getattr(agent, "replay", None)) is not None:
        stored = {} if replay.episodes is None else fields_of(replay.episodes)
        check_same("the replay's settings", repr(replay.settings), fix)
        check_same("the replay's episodes", weights_digest(stored.items()), fix)


@contextmanager
def quiet_unless_first() -> Iterator[None]:
    """Leave the warnings that all processes would give to the first."""
    if is_first():
        yield
        return
    logger = logging.getLogger("agents")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
