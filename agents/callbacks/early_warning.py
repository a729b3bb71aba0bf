"""A callback that warns of reward hacking while the run can still be stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agents.callbacks.signals import SIGNALS, Limits, Metrics
from rlhf_env.checks import did_you_mean

LOGGER = logging.getLogger("agents")


class EarlyWarning:
    """Logs a warning when a signal of `agents.callbacks.signals` first speaks.

    Example:
        >>> from agents.callbacks import EarlyWarning
        >>> warning = EarlyWarning()
        >>> agent.learn(4096, callback=warning)  # doctest: +SKIP
        >>> warning.alarms
        {}

    Which signals can speak depends on the metrics: "gold_gap" needs a task with a gold reward,
    "disagreement" a task whose reward is an `rlhf_env.rewards.Ensemble`.
    """

    def __init__(
        self,
        signals: Iterable[str] = tuple(SIGNALS),
        limits: Limits | None = None,
        history: Iterable[Metrics] = (),
    ) -> None:
        """Watch a run.

        Args:
            signals: names of `SIGNALS`.
            limits: from where on they speak.
            history: metrics of earlier updates of a run that is resumed, such as
                `agents.training.run_log.read_metrics` reads them.

        Raises:
            ValueError: if there is no such signal.
        """
        names = tuple(signals)
        for name in names:
            if name not in SIGNALS:
                raise ValueError(
                    f"signals must be among {', '.join(SIGNALS)}, got {name!r}"
                    f"{did_you_mean(name, list(SIGNALS))}"
                )
        self.signals = {name: SIGNALS[name] for name in names}
        self.limits = limits or Limits()
        self.alarms: dict[str, int] = {}
        """The update at which each signal first spoke."""
        self._rows: list[Metrics] = []
        for row in history:
            self._look(row)

    def __call__(self, agent: Any, metrics: Mapping[str, float]) -> None:
        """Look at the metrics of an update; see `agents.train`."""
        for sentence in self._look(metrics):
            LOGGER.warning("update %d: %s", metrics["update"], sentence)

    def _look(self, metrics: Metrics) -> list[str]:
        """Take an update into account, and return what signals say that had not spoken yet."""
        # What was seen after the checkpoint that a run goes on from happens again.
        update = metrics["update"]
        self._rows = [row for row in self._rows if row["update"] < update]
        self._rows.append(dict(metrics))
        said = []
        for name, signal in self.signals.items():
            sentence = None if name in self.alarms else signal(self._rows, self.limits)
            if sentence is not None:
                self.alarms[name] = int(update)
                said.append(sentence)
        return said


def in_turn(*callbacks: Callable[[Any, dict[str, float]], None]) -> Callable[..., None]:
    """Return one callback that calls several, in their order."""

    def call(agent: Any, metrics: dict[str, float]) -> None:
        for callback in callbacks:
            callback(agent, metrics)

    return call
