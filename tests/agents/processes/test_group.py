"""What is refused before processes meet."""

from __future__ import annotations

import pytest

from agents.processes import group


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_there_is_one_process() -> None:
    assert (group.count(), group.rank(), group.is_first()) == (1, 0, True)
    group.join()


def test_a_launch_that_does_not_say_where_to_meet_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert (group.count(), group.rank()) == (2, 1)
    with pytest.raises(ValueError, match="WORLD_SIZE is 2, so MASTER_ADDR must be set too"):
        group.join()


def test_accelerate_that_started_one_process_of_several_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ValueError, match="add --multi_gpu, which is for CPUs too"):
        group.join()


def test_divided_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="each process must hold all weights, got FSDP"):
        group.join()


def test_who_works_alone_counts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with group.alone():
        assert group.count() == 1
    assert group.count() == 3
