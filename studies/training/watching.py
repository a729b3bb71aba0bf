"""What `scripts/train.py` does after every update besides learning: keep the best, and warn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agents.callbacks import EarlyWarning, KeepBest, in_turn
from agents.training.run_log import METRICS, read_metrics
from rlhf_env.checks import did_you_mean
from studies.experiment.acting import has_policy
from studies.training.settings import Settings

BEST = "best"
"""The folder of the best checkpoint, within the run's."""
OF_GOLD = ("gold", "reference_gold")


def callback_of(
    settings: Settings, agent: Any, before: Mapping[str, float], every: int
) -> Callable[..., None] | None:
    """Return what is called after every update; None where nothing was asked for.

    Args:
        settings: of the run, of which ``keep_best`` and ``early_warning`` count.
        agent: that will be trained.
        before: its figures before training, of which one is to be the best.
        every: updates between two evaluations.

    Raises:
        ValueError: if the agent cannot be evaluated and saved, or there is no such figure.
    """
    callbacks: list[Callable[..., None]] = []
    if (metric := settings.keep_best) is not None:
        if not has_policy(agent):
            raise ValueError(
                f"--keep-best must be left out for {settings.learning.agent}, which is not "
                f"evaluated and saved by this project, got {metric!r}"
            )
        if metric not in before:
            hint = did_you_mean(metric, before) or f"; there are {', '.join(sorted(before))}"
            if metric in OF_GOLD:
                hint = ", which needs a task with a gold reward; score is the reward that is paid"
            raise ValueError(
                f"--keep-best must be a figure of this run's evaluations, got {metric!r}{hint}"
            )
        episodes = settings.learning.eval_episodes
        folder = settings.out / BEST
        callbacks.append(KeepBest(folder, metric=metric, every=every, episodes=episodes))
    if settings.early_warning:
        metrics = settings.out / METRICS
        # A run that is continued is judged from its beginning.
        history = read_metrics(metrics) if metrics.is_file() else ()
        callbacks.append(EarlyWarning(history=history))
    return in_turn(*callbacks) if callbacks else None
