"""What records a step of decoding and repeats it: a CUDA graph."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from rlhf_env.engine.compat import is_modified


class Recorder(Protocol):
    """Records steps of one wave; a step is operations on tensors whose memory stays."""

    def running(self) -> AbstractContextManager[None]:
        """Return what all steps of the wave run in, recorded or not."""
        ...

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a step, which does not happen by that.

        Returns:
            What repeats it, and where each repetition puts what the step returns.

        Raises:
            Exception: if it cannot be recorded.
        """
        ...


# PyTorch allows one capture at a time in a process, and another thread's steps must not get in.
_ONE_AT_A_TIME = threading.Lock()


class CUDAGraphs:
    """Records steps as CUDA graphs; a recorder serves one wave.

    What is done follows https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: steps
    run on a side stream, the one of the capture, before they are captured. Graphs share a pool of
    memory, which is freed with the last of them, so all live as long as the wave. Their results
    leave the pool through the wave's own tensors.
    """

    def __init__(self, device: torch.device) -> None:
        """Take a CUDA device."""
        self._device = device
        self._stream = _side_stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: list[torch.cuda.CUDAGraph] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run what is inside on the side stream, one thread at a time."""
        outer = torch.cuda.current_stream(self._device)
        with _ONE_AT_A_TIME:
            self._stream.wait_stream(outer)
            try:
                with torch.cuda.stream(self._stream):
                    yield
            finally:
                outer.wait_stream(self._stream)
                # A graph is not freed while it runs.
                self._stream.synchronize()
                self._graphs.clear()

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Capture a step; see `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        capture = torch.cuda.graph(
            graph,
            pool=self._pool,
            stream=self._stream,
            # Other threads may go on allocating.
            capture_error_mode="thread_local",
        )
        # Where a capture fails, `torch.cuda.graph` may leave its own stream in place.
        with torch.cuda.stream(self._stream), capture:
            output = step()
        self._graphs.append(graph)
        return graph.replay, output


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    # One for all waves: each stream has memory and matrix workspaces of its own.
    return torch.cuda.Stream(device)


def recorder_for(model: nn.Module, device: torch.device) -> Callable[[], Recorder] | None:
    """Return what makes the recorder of each wave; None where nothing can be recorded.

    A graph repeats what the device did, not Python: hooks would no longer be called, so a model
    that has some, or another ``forward``, is not recorded.
    """
    if device.type != "cuda" or any(map(is_modified, model.modules())):
        return None
    return lambda: CUDAGraphs(device)
