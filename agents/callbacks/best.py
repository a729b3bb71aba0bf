"""A callback that keeps the best checkpoint by an evaluation, not by the reward that is paid."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents.processes.exchange import on_first
from rlhf_env.checks import check_count, did_you_mean
from rlhf_env.files import parse_json, write_atomically

RECORD = "best.json"
Measure = Callable[[Any], float]


class KeepBest:
    """Evaluates every few updates and keeps the checkpoint that did best.

    The folder holds one checkpoint and ``best.json``, which names it and lists all evaluations.
    A run that is killed and resumed ends with the same folder: evaluations draw the same episodes
    at every call and do not disturb training, the record is replaced as a whole, and it names a
    checkpoint only once that is complete.

    Example:
        >>> keep = KeepBest("runs/a/best", metric="gold", every=10)
        >>> agent.learn(4096, log_dir="runs/a", callback=keep)  # doctest: +SKIP
        >>> PPO.load(best_checkpoint("runs/a/best"), envs)  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        metric: str | Measure = "gold",
        every: int = 10,
        episodes: int = 256,
        larger: bool = True,
    ) -> None:
        """Say what is best; nothing is written yet.

        Args:
            folder: of the best checkpoint.
            metric: a key of ``agent.evaluate(episodes)``, or a function of the agent that returns
                a number. The first update is evaluated too, so that a wrong name shows at once.
            every: updates between evaluations.
            episodes: of each evaluation.
            larger: whether larger numbers are better.

        Raises:
            ValueError: if a count is not positive.
        """
        check_count("every", every)
        check_count("episodes", episodes)
        self.folder = Path(folder)
        self.metric = metric
        self.every = every
        self.episodes = episodes
        self.larger = larger

    def __call__(self, agent: Any, metrics: Mapping[str, float]) -> None:
        """Evaluate if it is time, and keep the agent if it is the best so far.

        Raises:
            ValueError: if there is no such metric, it is not a finite number, or the folder holds
                the best of another run.
            OSError: if the folder cannot be written.
        """
        update = int(metrics["update"])
        if update != 1 and update % self.every:
            return
        settings = self._settings(agent)
        record = self._record(settings)
        value = self._measure(agent)
        # By update: what a resumed run does again takes the place of what it did before.
        evaluations = {**record["evaluations"], str(update): value}
        best = self._best(evaluations)
        path = self.folder / f"update-{best:08d}"
        if best == update:
            self.folder.mkdir(parents=True, exist_ok=True)
            agent.save(path)
        fields = {"settings": settings, "best": best, "value": evaluations[str(best)]}
        fields |= {"checkpoint": path.name, "evaluations": evaluations}
        on_first(lambda: self._keep(path, fields))

    def _keep(self, path: Path, fields: Mapping[str, Any]) -> None:
        """Write the record, and drop all checkpoints but the best."""
        write_atomically(self.folder / RECORD, json.dumps(fields, indent=2).encode())
        for other in self.folder.glob("update-*"):
            if other != path:
                shutil.rmtree(other)

    def _settings(self, agent: Any) -> dict[str, Any]:
        """Return what tells one run from another, as JSON has it."""
        name = self.metric if isinstance(self.metric, str) else _name(self.metric)
        config = getattr(agent, "config", None)
        known: Any = config if dataclasses.is_dataclass(config) else None
        fields = {
            "agent": type(agent).__name__,
            "config": {} if known is None else dataclasses.asdict(known),
            "metric": name,
            "episodes": self.episodes,
            "larger": self.larger,
        }
        return json.loads(json.dumps(fields, default=str))

    def _record(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        path = self.folder / RECORD
        if not path.exists():
            return {"evaluations": {}}
        record = parse_json(path.read_text(encoding="utf-8"))
        if record.get("settings") != settings:
            raise ValueError(
                f"{str(self.folder)!r} must hold the best of this run, got that of another, whose "
                "settings differ; choose another folder"
            )
        return record

    def _measure(self, agent: Any) -> float:
        if not isinstance(self.metric, str):
            value, name = float(self.metric(agent)), _name(self.metric)
        else:
            figures, name = agent.evaluate(self.episodes), self.metric
            if name not in figures:
                hint = did_you_mean(name, list(figures))
                raise ValueError(
                    f"metric must be one of {', '.join(sorted(figures))}, got {name!r}{hint}; "
                    '"gold" needs a task with a gold reward'
                )
            value = float(figures[name])
        if not math.isfinite(value):
            raise ValueError(f"the metric {name} must be a finite number, got {value}")
        return value

    def _best(self, evaluations: Mapping[str, float]) -> int:
        """Return the update of the best value; of equal ones the first."""
        sign = -1.0 if self.larger else 1.0
        ranked = {int(update): (sign * value, int(update)) for update, value in evaluations.items()}
        return min(ranked, key=ranked.__getitem__)


def best_checkpoint(folder: str | Path) -> Path:
    """Return the checkpoint that `KeepBest` kept in a folder, for ``Agent.load``.

    Raises:
        ValueError: if there is none.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise ValueError(
            f"{str(folder)!r} must hold {RECORD}, which KeepBest writes, got none; "
            "was the run evaluated yet?"
        )
    return path.parent / str(parse_json(path.read_text(encoding="utf-8"))["checkpoint"])


def _name(measure: Measure) -> str:
    return getattr(measure, "__name__", type(measure).__name__)
