"""The training loop: collect, update, log, repeat. It works with any algorithm."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv
from tqdm import tqdm

from agents.evaluation.metrics import rollout_metrics
from agents.processes.exchange import gathered, together
from agents.processes.group import is_first
from agents.rollouts.collect import base_environment, collect
from agents.rollouts.contract import (
    CollectingAgent,
    LearningAgent,
    MeasuringAgent,
    check_methods,
    checked_figures,
)
from agents.training.checkpoints.run_checkpoints import Checkpoints
from agents.training.health import Health
from agents.training.interrupt import interruptible
from agents.training.process_checks import check_divisible, check_same_start, quiet_unless_first
from agents.training.run_lock import run_lock
from agents.training.run_log import METRICS, RunLog, read_metrics
from agents.training.trackers import Tracking, check_tracker
from rlhf_env.checks import check_count
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task

Callback = Callable[[Any, dict[str, float]], None]
# What the progress bar shows, of what an agent has.
SHOWN = ("score", "kl", "accuracy")


def train(
    agent: LearningAgent,
    envs: VectorEnv[Any, Any, Any],
    total_episodes: int,
    *,
    episodes_per_update: int | None = None,
    log_dir: str | Path | None = None,
    checkpoint_every: int = 50,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    track: str = "tensorboard",
) -> list[dict[str, float]]:
    """Train an agent until it has seen ``total_episodes``.

    The first Ctrl-C (or SIGTERM) lets the running update finish and saves a checkpoint before it
    raises KeyboardInterrupt; a second one interrupts at once, and the last checkpoint is kept. Of
    several processes, which a launcher starts, each makes a share of the episodes and gradients,
    the first writes, and what stops one stops all after the same update.

    Args:
        agent: an agent of this package, or any object with ``act(observation)`` and
            ``update(rollout)``.
        envs: a vector environment of RLHF-v0, with or without wrappers.
        total_episodes: rounded up to whole updates; 0 trains nothing.
        episodes_per_update: for an agent that does not define it; the number of rows when None.
        log_dir: gets ``metrics.jsonl``, TensorBoard files and checkpoints. A run that it already
            holds is resumed from its last checkpoint.
        checkpoint_every: updates between checkpoints; the last update always gets one.
        seed: of the prompts that an agent without its own rollouts is shown.
        progress: show a progress bar on stderr.
        callback: called as ``callback(agent, metrics)`` after every update, in every process.
        track: "wandb", "trackio" or "mlflow" log there too, under the folder's name; a resumed
            run goes on with its run of the tracker.

    Returns:
        One dictionary of metrics per update of this call.

    Raises:
        ValueError: if the counts, the environment or the folder cannot be used, the agent lacks a
            method, one of them returns something invalid, or the agent learns by itself and there
            are several processes.
        ProcessLostError: if another process has died; the last checkpoint is complete.
    """
    check_methods("agent", agent, ("act", "update"), "act(observation) and update(rollout)")
    check_count("total_episodes", total_episodes, minimum=0)
    check_count("checkpoint_every", checkpoint_every)
    check_count("seed", seed, minimum=0)
    check_tracker(track)
    base = base_environment(envs)
    size = _episodes_per_update(agent, envs, episodes_per_update)
    collector = _collector(agent, envs, size, seed)
    updates = -(-total_episodes // size)
    check_divisible(agent)
    checkpoints = Checkpoints.open(agent, log_dir)
    history: list[dict[str, float]] = []
    if checkpoints.hold(updates):
        # A finished run is only read, so it may be on a read-only disk.
        checkpoints.resume()
        return history
    # The others read and write nothing but what they are told.
    own_dir = log_dir if is_first() else None
    with ExitStack() as stack:
        stack.enter_context(quiet_unless_first())
        together(lambda: stack.enter_context(run_lock(own_dir)))
        done = checkpoints.resume()
        if checkpoints.agent is None and log_dir is not None:
            _check_unused(agent, Path(log_dir))
        check_same_start(agent)
        log = together(lambda: stack.enter_context(RunLog(own_dir, resume_after=done)))
        tracker = track if is_first() else "tensorboard"
        tracking = stack.enter_context(Tracking(tracker, own_dir, _settings(agent)))
        bar = stack.enter_context(_bar(done, updates, progress and is_first()))
        is_interrupted = stack.enter_context(interruptible())
        health = Health(first_entropy=log.rows[0].get("entropy") if log.rows else None)
        for update in range(done + 1, updates + 1):
            counts = {"update": float(update), "episodes": float(update * size)}
            rollout, figures = _learn_once(agent, partial(collector, update), base.task)
            metrics = counts | figures
            if is_first():
                health.examine(rollout, metrics)
            together(partial(log.write, metrics))
            tracking.log(metrics)
            history.append(metrics)
            if callback is not None:
                together(partial(callback, agent, metrics))
            bar.update()
            shown = {name: metrics[name] for name in SHOWN if name in metrics}
            bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})
            stop = any(gathered(is_interrupted))
            if update % checkpoint_every == 0 or update == updates or stop:
                checkpoints.save(update)
            if stop:
                raise KeyboardInterrupt
    return history


def _settings(agent: LearningAgent) -> dict[str, Any]:
    """Return what a tracker shows as the settings of an agent."""
    named = {"agent": type(agent).__name__}
    config: Any = getattr(agent, "config", None)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return named | dataclasses.asdict(config)
    return named


def _learn_once(
    agent: LearningAgent, collector: Callable[[], Rollout], task: Task
) -> tuple[Rollout, dict[str, float]]:
    """Collect a rollout, let the agent learn from it, and return it with all metrics."""
    begun = time.perf_counter()
    rollout = collector()
    learned = checked_figures(agent.update(rollout))
    is_measuring = isinstance(agent, MeasuringAgent)
    measured = agent.measure(rollout) if is_measuring else rollout_metrics(rollout, task)
    tokens = int(rollout.is_action.sum())
    return rollout, {
        **measured,
        **learned,
        "tokens_per_second": tokens / (time.perf_counter() - begun),
    }


def _check_unused(agent: object, folder: Path) -> None:
    """Refuse to overwrite a run that an agent without checkpoints could not continue."""
    if read_metrics(folder / METRICS):
        raise ValueError(
            f"log_dir {str(folder)!r} holds a run already, and {type(agent).__name__} has no "
            "updates, save and restore to go on with it; choose another folder"
        )


def _collector(
    agent: LearningAgent, envs: VectorEnv[Any, Any, Any], size: int, seed: int
) -> Callable[[int], Rollout]:
    if isinstance(agent, CollectingAgent):
        return lambda update: agent.collect()
    return lambda update: collect(envs, agent, size, seed=(seed, update))


def _episodes_per_update(
    agent: LearningAgent, envs: VectorEnv[Any, Any, Any], asked: int | None
) -> int:
    own = getattr(agent, "episodes_per_update", None)
    if own is not None and asked is not None and own != asked:
        raise ValueError(
            f"episodes_per_update is {own} in the agent, got {asked} here; leave it out here"
        )
    size = own or asked or envs.num_envs
    check_count("episodes_per_update", size)
    return size


def _bar(done: int, updates: int, progress: bool) -> tqdm[Any]:
    return tqdm(total=updates, initial=done, unit="update", disable=not progress)
