from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.studies.real_commands import finish, measured, start, wait_for
from tests.studies.toy_grids import ablate, contents, given, rows
from tests.studies.toy_runs import interrupting, swallowing_signals


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_keeps_what_is_finished(tmp_path: Path, capsys, jobs: str):
    assert ablate(tmp_path, "--jobs", jobs, runner=interrupting) == 130
    err = capsys.readouterr().err
    assert "interrupted; finished runs are kept" in err
    assert "Traceback" not in err
    assert len(rows(tmp_path)) == len(list((tmp_path / "runs").glob("*.json"))) >= 3
    assert ablate(tmp_path) == 0
    assert len(rows(tmp_path)) == 8


def test_a_worker_that_heeds_no_signal_is_killed_at_an_interrupt(tmp_path: Path):
    start = time.monotonic()
    assert ablate(tmp_path, runner=swallowing_signals) == 130
    assert multiprocessing.active_children() == []
    assert time.monotonic() - start < 20


def start_grid(folder: Path, *more: str) -> subprocess.Popen[str]:
    return start("ablate.py", folder, *given(*more))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_real_grid_goes_on_after_an_interrupt(tmp_path: Path, number: int, status: int):
    options = ("--updates", "20", "--seeds", "1")
    process = start_grid(tmp_path, *options)
    wait_for(tmp_path, "runs/*.json", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in err
    kept = {path.name: path.read_bytes() for path in (tmp_path / "runs").glob("*.json")}
    assert len(kept) < 4

    out = finish(start_grid(tmp_path, *options))
    assert len(rows(tmp_path)) == 4
    assert {row["status"] for row in rows(tmp_path)} == {"ok"}
    assert {name: (tmp_path / "runs" / name).read_bytes() for name in kept} == kept
    assert "J/J*" in out


@pytest.mark.parametrize("delay", [0.1, 0.25, 0.5, 1.0])
def test_an_early_interrupt_is_one_line(tmp_path: Path, delay: float):
    process = start_grid(tmp_path)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=10)
    if process.returncode == -signal.SIGINT:
        assert (out, err) == ("", "")  # Python itself had not started: nobody can catch that.
        return
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("ablate: interrupted")
    assert "Traceback" not in err


@pytest.mark.slow
def test_signals_of_all_kinds_at_any_moment_end_a_grid_and_lose_nothing(tmp_path: Path):
    options = ("--granularity", "token", "--updates", "4", "--seeds", "8", "--jobs", "2")
    rng = random.Random(0)
    kinds = [
        (kill, number, times)
        for kill in (os.kill, os.killpg)
        for number in (signal.SIGINT, signal.SIGTERM)
        for times in (1, 2)
    ]
    for kill, number, times in kinds:
        process = start_grid(tmp_path / "stopped", *options, "--no-report")
        time.sleep(rng.uniform(0.3, 12.0))
        kept = contents(tmp_path / "stopped" / "runs")
        for _ in range(times):
            if process.poll() is None:
                kill(process.pid, number)
            time.sleep(0.1)
        _, err = process.communicate(timeout=5)
        assert process.returncode in (0, 130), err
        assert "Traceback" not in err
        assert "leaked" not in err
        now = contents(tmp_path / "stopped" / "runs")
        assert {path: now[path] for path in kept} == kept
    for name in ("stopped", "whole"):
        finish(start_grid(tmp_path / name, *options, "--no-report"))
    assert measured(tmp_path / "stopped") == measured(tmp_path / "whole")
