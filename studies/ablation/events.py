"""The curve of each run as a file that TensorBoard reads: ``tensorboard/<run_id>/``."""

from __future__ import annotations

import io
import time
from pathlib import Path

from agents.training.events import PREFIX, EventWriter
from rlhf_env.files import write_atomically
from studies.results.folder import EVENTS
from studies.results.records import Record

NAME = f"{PREFIX}0"


def write_events(folder: Path, record: Record) -> None:
    """Write a run's figures by update, as a whole; a run without figures gets no file."""
    if not record.curve:
        return
    place = folder / EVENTS / record.run.run_id
    place.mkdir(parents=True, exist_ok=True)
    # The record has the same figures, and is what counts.
    content = as_events(record.curve, time.time())
    write_atomically(place / NAME, content, survives_power_cut=False)


def as_events(curve: list[dict[str, float]], wall_time: float) -> bytes:
    """Return the content of an event file.

    Args:
        curve: the figures of every update; "update" is the step.
        wall_time: in seconds since 1970, the same for all: the file is written at the run's end.
    """
    content = io.BytesIO()
    writer = EventWriter(content, wall_time)
    for point in curve:
        values = {name: value for name, value in point.items() if name != "update"}
        writer.write(int(point["update"]), values, wall_time)
    return content.getvalue()
