"""In which order CUDA is asked for what, with a CUDA that only takes notes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from agents.rollouts.waves import recorders
from agents.rollouts.waves.recorders import CUDAGraphs

DEVICE = torch.device("cuda:0")
SIGNATURE = inspect.signature(torch.cuda.graph)


class Notes:
    """What was asked for, and the streams in force."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.streams = [Stream(self, "outer")]

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before = list(self.streams)
        self.streams.append(stream)
        try:
            yield
        finally:
            self.streams[:] = before


class Stream:
    def __init__(self, notes: Notes, name: str) -> None:
        self.notes, self.name = notes, name

    def wait_stream(self, other: Stream) -> None:
        self.notes.said.append(f"{self.name} waits for {other.name}")

    def synchronize(self) -> None:
        self.notes.said.append(f"the host waits for {self.name}")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notes]:
    notes = Notes()

    class Graph:
        def replay(self) -> None:
            notes.said.append(f"replay on {notes.streams[-1].name}")

        def __del__(self) -> None:
            notes.said.append("a graph is freed")

    @contextmanager
    def capture(*args: Any, **named: Any) -> Iterator[None]:
        asked = SIGNATURE.bind(*args, **named).arguments
        assert asked["capture_error_mode"] == "thread_local"
        # A stream of its own is what a capture that fails leaves in place.
        notes.streams.append(asked["stream"])
        notes.said.append(f"capture on {asked['stream'].name} in {asked['pool']}")
        yield
        notes.streams.pop()

    recorders._side_stream.cache_clear()
    fakes = {
        "Stream": lambda device: Stream(notes, "side"),
        "current_stream": lambda device: notes.streams[-1],
        "stream": notes.stream,
        "CUDAGraph": Graph,
        "graph": capture,
        "graph_pool_handle": lambda: "a pool",
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    yield notes
    recorders._side_stream.cache_clear()


def test_steps_and_captures_share_a_stream_and_graphs_live_as_long_as_the_wave(
    notes: Notes,
) -> None:
    graphs = CUDAGraphs(DEVICE)
    with graphs.running():
        assert notes.streams[-1].name == "side"
        for _ in range(2):
            repeat, output = graphs.record(lambda: torch.ones(1))
            assert output.item() == 1.0
            repeat()
            del repeat
    assert notes.said == [
        "side waits for outer",
        *["capture on side in a pool", "replay on side"] * 2,
        "outer waits for side",
        "the host waits for side",
        *["a graph is freed"] * 2,
    ]
    assert CUDAGraphs(DEVICE)._stream is graphs._stream


def test_after_a_step_that_fails_streams_and_lock_are_as_before(notes: Notes) -> None:
    def fails() -> torch.Tensor:
        raise RuntimeError("not permitted")

    for _ in range(2):
        graphs = CUDAGraphs(DEVICE)
        with graphs.running(), pytest.raises(RuntimeError, match="not permitted"):
            graphs.record(fails)
        assert [stream.name for stream in notes.streams] == ["outer"]
