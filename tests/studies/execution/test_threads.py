"""Threads by what is free and by the size of the model, and what a person asked for before that."""

from __future__ import annotations

import subprocess
import sys

import pytest

from studies.execution import threads
from studies.execution.threads import Moment, chosen_threads, free_between, threads_for


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)


def test_what_is_asked_for_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert chosen_threads(3, weights=10)[0] == 3
    assert chosen_threads(None, weights=10) == (None, "as OMP_NUM_THREADS says")


def test_a_small_model_gets_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "free_cores", lambda: 8.0)
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    assert chosen_threads(None, weights=150_000)[0] == 1
    count, reason = chosen_threads(None, weights=1_000_000)
    assert count == 8
    assert reason.startswith("8.0 of 8 cores are free")


def test_processes_of_a_launcher_share_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "free_cores", lambda: 8.0)
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert chosen_threads(None, weights=15_000_000)[0] == 2


@pytest.mark.parametrize(
    ("free", "cores", "expected"),
    [(0.0, 2, 1), (0.6, 2, 1), (1.5, 2, 1), (1.8, 2, 2), (2.0, 2, 2), (7.6, 8, 7), (8.0, 4, 4)],
)
def test_mostly_free_cores_count(free: float, cores: int, expected: int) -> None:
    assert threads_for(free, cores) == expected


def test_what_this_process_uses_is_free_for_it() -> None:
    """In two seconds of two cores: one idle, half a one ours, so others took 2.5 of 4."""
    begin = Moment(time=10.0, idle=100.0, own=5.0)
    assert free_between(begin, Moment(time=12.0, idle=101.0, own=5.5), cores=2) == 0.75
    assert free_between(begin, Moment(time=12.0, idle=104.5, own=5.5), cores=2) == 2.0


def test_the_load_average_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (1.5, 9.0, 9.0))
    begin = Moment(time=0.0, idle=None, own=0.0)
    assert free_between(begin, begin, cores=4) == 2.5


@pytest.mark.parametrize(
    ("load", "expected"),
    [(0.9, {"GOMP_SPINCOUNT": "10000"}), (1.0, {"OMP_WAIT_POLICY": "PASSIVE"})],
)
def test_threads_that_wait_sleep_soon_and_at_once_on_a_busy_machine(
    load: float, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    assert threads.waiting_policy() == expected


def test_a_wish_for_another_way_of_waiting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    monkeypatch.setenv("GOMP_SPINCOUNT", "100")
    threads.wait_considerately()
    assert "OMP_WAIT_POLICY" not in threads.os.environ
    assert threads.os.environ["GOMP_SPINCOUNT"] == "100"


def test_one_line_says_how_many() -> None:
    """In a process of its own: the number is the process's."""
    code = (
        "import torch; from studies.execution.threads import set_threads; set_threads(2, 10**7);"
        "print(torch.get_num_threads())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "2\n"
    assert ended.stderr == "2 threads: as --threads says\n"


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("claim", "left"), [("threads.own_process();", 0), ("", 10**6)])
def test_numbers_below_the_normal_ones_are_zero_where_a_process_is_a_command_s(
    claim: str, left: int, count: int
) -> None:
    """In a process of its own: the setting is the process's, and that of threads begun later."""
    code = (
        f"import torch; from studies.execution import threads; {claim} threads.flush_denormals();"
        f"torch.set_num_threads({count});"
        "print(int((torch.full((10**6,), 2e-38) * 0.5).count_nonzero()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == f"{left}\n"
