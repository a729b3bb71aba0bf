"""What all tests share: one thread, and the small tasks."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import torch

from rlhf_env import tasks
from rlhf_env.task import Task
from rlhf_env.tasks import load_task


@pytest.fixture(scope="session", autouse=True)
def heed_interrupts() -> None:
    """Undo what a shell does to background jobs: tests press Ctrl-C, also in child processes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run several at a time, and their tensors are too small to share out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that a test registers is unknown to the next one."""
    monkeypatch.setattr(tasks, "_FACTORIES", dict(tasks._FACTORIES))


@pytest.fixture
def toy15() -> Task:
    """Three tokens, horizon three, every number known."""
    return load_task("toy15")
