"""The curve of each run as a file that TensorBoard reads: ``tensorboard/<run_id>/``."""

from __future__ import annotations

import io
import time
from pathlib import Path

# Generated code, which type checkers do not see through.
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter

from rlhf_env.files import write_atomically
from studies.results.folder import EVENTS
from studies.results.records import Record

# TensorBoard goes by this part of a file's name, and by this first entry.
NAME = "events.out.tfevents.0"
VERSION = "brain.Event:2"


def write_events(folder: Path, record: Record) -> None:
    """Write a run's figures by update, as a whole; a run without figures gets no file."""
    if not record.curve:
        return
    place = folder / EVENTS / record.run.run_id
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / NAME, as_events(record.curve, time.time()))


def as_events(curve: list[dict[str, float]], wall_time: float) -> bytes:
    """Return the content of an event file.

    Args:
        curve: the figures of every update; "update" is the step.
        wall_time: in seconds since 1970, the same for all: the file is written at the run's end.
    """
    content = io.BytesIO()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=wall_time, file_version=VERSION).SerializeToString())
    for point in curve:
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in point.items()
            if name != "update"
        ]
        event = Event(wall_time=wall_time, step=int(point["update"]), summary=Summary(value=values))
        writer.write(event.SerializeToString())
    return content.getvalue()
