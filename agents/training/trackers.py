"""Other places where a run is logged: Weights & Biases, Trackio, MLflow.

A tracker gets the settings, one set of figures per update and how the run ended. Which of its runs
it was is kept beside the log, so that a resumed run continues it. A tracker that fails is left
alone, with one warning: training is worth more.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

from rlhf_env.checks import check_choice
from rlhf_env.extras import Extra, importing, require
from rlhf_env.files import read_json, write_atomically

PROJECT = "rlhf-env"
RECORD = "tracker.json"
Settings = Mapping[str, Any]


class Tracker(Protocol):
    """One run of a tracker."""

    run: str
    """By which it is found again."""

    def log(self, update: int, figures: Mapping[str, float]) -> None:
        """Log the figures of an update."""
        ...

    def finish(self, status: str) -> None:
        """End the run: "finished", "failed" or "interrupted"."""
        ...


class WandbTracker:
    """A run of Weights & Biases; ``WANDB_MODE=offline`` keeps it on this machine."""

    def __init__(self, name: str, folder: Path | None, run: str | None, settings: Settings) -> None:
        """Begin a run, or go on with one."""
        with importing("wandb"):
            import wandb  # type: ignore[import-not-found]
        self._run = wandb.init(
            project=PROJECT,
            name=name,
            id=run,
            resume="allow",
            config=dict(settings),
            dir=None if folder is None else str(folder),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.run = self._run.id

    def log(self, update: int, figures: Mapping[str, float]) -> None:
        """Log the figures of an update."""
        self._run.log(dict(figures), step=update)

    def finish(self, status: str) -> None:
        """End the run, with exit code 0 if it finished."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=int(status != "finished"))


class TrackioTracker:
    """A run of Trackio, in its local database."""

    def __init__(self, name: str, folder: Path | None, run: str | None, settings: Settings) -> None:
        """Begin a run, or go on with one."""
        with importing("trackio"):
            import trackio  # type: ignore[import-not-found]
        self._trackio = trackio
        config = {key: value for key, value in settings.items() if not key.startswith("_")}
        self._run = trackio.init(
            project=PROJECT, name=run or name, resume="allow", config=config, embed=False
        )
        self.run = self._run.name

    def log(self, update: int, figures: Mapping[str, float]) -> None:
        """Log the figures of an update."""
        self._trackio.log(dict(figures), step=update)

    def finish(self, status: str) -> None:
        """End the run; its status is a last figure, 1 if it finished."""
        self._trackio.log({"finished": float(status == "finished")})
        self._trackio.finish()


class MlflowTracker:
    """A run of MLflow, where ``MLFLOW_TRACKING_URI`` says."""

    _STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}  # noqa: RUF012

    def __init__(self, name: str, folder: Path | None, run: str | None, settings: Settings) -> None:
        """Begin a run, or go on with one."""
        with importing("mlflow"):
            from mlflow import MlflowClient  # type: ignore[import-not-found]
        self._client = MlflowClient()
        if run is None:
            known = self._client.get_experiment_by_name(PROJECT)
            experiment = (
                self._client.create_experiment(PROJECT) if known is None else known.experiment_id
            )
            run = self._client.create_run(experiment, run_name=name).info.run_id
            for key, value in settings.items():
                self._client.log_param(run, key, str(value)[:500])
        else:
            self._client.update_run(run, status="RUNNING")
        self.run = cast(str, run)

    def log(self, update: int, figures: Mapping[str, float]) -> None:
        """Log the figures of an update."""
        for name, value in figures.items():
            self._client.log_metric(self.run, name, value, step=update)

    def finish(self, status: str) -> None:
        """End the run with MLflow's word for it."""
        self._client.set_terminated(self.run, status=self._STATUS[status])


# None: the event files that every log has.
TRACKERS: dict[str, Callable[..., Tracker] | None] = {
    "tensorboard": None,
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
    "mlflow": MlflowTracker,
}


def check_tracker(name: str) -> None:
    """Refuse a tracker that there is not, or whose package is not installed.

    Raises:
        ValueError: in one sentence that names the extra.
    """
    check_choice("track", name, tuple(TRACKERS))
    if TRACKERS[name] is not None:
        require(cast(Extra, name), name)


class Tracking:
    """Hands figures to a tracker for as long as that works."""

    def __init__(self, name: str, log_dir: str | Path | None, settings: Settings) -> None:
        """Begin to track, or go on where ``log_dir`` tells a run of this tracker.

        Args:
            name: a key of `TRACKERS`.
            log_dir: the run's folder, whose name becomes the run's.
            settings: shown with the run.
        """
        self._tracker: Tracker | None = None
        make = TRACKERS[name]
        if make is None:
            return
        folder = None if log_dir is None else Path(log_dir)
        title = PROJECT if folder is None else folder.resolve().name
        try:
            known = None if folder is None else _known_run(folder, name)
            self._tracker = make(title, folder, known, settings)
            if folder is not None:
                record = {"tracker": name, "run": self._tracker.run}
                write_atomically(folder / RECORD, json.dumps(record).encode())
        except Exception as error:
            self._give_up(error)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Log an update's metrics; numbers that are not finite are left out."""
        figures = {k: v for k, v in metrics.items() if k != "update" and math.isfinite(v)}
        self._try(lambda tracker: tracker.log(int(metrics["update"]), figures))

    def __enter__(self) -> Self:
        """Return what figures are handed to."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say how the run ended."""
        status = "finished" if kind is None else "failed"
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            status = "interrupted"
        self._try(lambda tracker: tracker.finish(status))

    def _try(self, work: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            work(self._tracker)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        warnings.warn(
            f"the tracker failed and gets nothing more of this run, which goes on: "
            f"{type(error).__name__}: {str(error)[:200]}",
            stacklevel=4,
        )


def _known_run(folder: Path, name: str) -> str | None:
    """Return the run of this tracker that the folder belongs to, if there is one."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return None
    return record.get("run") if isinstance(record, dict) and record.get("tracker") == name else None
