"""Event files, which TensorBoard reads.

They are written at once and by the caller: TensorBoard's own writer leaves that to a thread, whose
traceback would be the first that is seen of a full disk.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import BinaryIO

# Generated code, which type checkers do not see through.
from tensorboard.compat.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from agents.training.crc32c import crc32c

# TensorBoard goes by this part of a file's name, and by this first entry.
PREFIX = "events.out.tfevents."
_VERSION = "brain.Event:2"
# What TensorFlow's records add to a checksum, so that none is a checksum of its own file.
_MASK = 0xA282EAD8


class EventWriter:
    """Writes one entry per step into an open file."""

    def __init__(self, file: BinaryIO, wall_time: float, first_step: int | None = None) -> None:
        """Write the first entries.

        Args:
            file: empty.
            wall_time: in seconds since 1970.
            first_step: what other files of the folder hold from this step on counts no more.
        """
        self._file = file
        self._write(Event(wall_time=wall_time, file_version=_VERSION))
        if first_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=wall_time, step=first_step, session_log=start))

    def write(self, step: int, values: Mapping[str, float], wall_time: float) -> None:
        """Append the values of one step, by name."""
        summary = Summary(
            value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        )
        self._write(Event(wall_time=wall_time, step=step, summary=summary))

    def _write(self, event: Event) -> None:
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        self._file.write(length + _checksum(length) + content + _checksum(content))


def _checksum(part: bytes) -> bytes:
    found = crc32c(part)
    turned = found >> 15 | found << 17
    return struct.pack("<I", turned + _MASK & 0xFFFFFFFF)
