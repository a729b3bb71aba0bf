"""A log that was damaged between two parts of a run loses no line that can still be read."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.training.run_log import RunLog, read_metrics
from tests.full_disk import files_of_at_most

ROWS = [json.dumps({"update": float(n), "score": n / 2}) for n in range(1, 6)]


def updates(path: Path) -> list[float]:
    return [row["update"] for row in read_metrics(path)]


def resumed(folder: Path, text: bytes) -> Path:
    path = folder / "metrics.jsonl"
    path.write_bytes(text)
    RunLog(folder, resume_after=5).__exit__(None, None, None)
    return path


def test_a_torn_last_line_is_dropped_in_silence(tmp_path: Path) -> None:
    path = resumed(tmp_path, "\n".join([*ROWS, '{"update": 6.0, "sc']).encode())
    assert updates(path) == [1, 2, 3, 4, 5]
    assert not list(tmp_path.glob("*.damaged*"))


@pytest.mark.parametrize(
    "line", [b"{bad", b"[" * 200_000, b"\xff\xfe", b"{}", b'{"update": "2"}', b"7", b""]
)
def test_a_damaged_line_costs_no_other(tmp_path: Path, line: bytes) -> None:
    lines = [row.encode() for row in ROWS]
    lines[1] = line
    text = b"\n".join(lines) + b"\n"
    with pytest.warns(UserWarning) as caught:
        path = resumed(tmp_path, text)
    told = [str(warning.message) for warning in caught]
    assert "1 of 5 lines" in told[0] and "metrics.jsonl.damaged" in told[0]
    assert "lacks 1 of the updates 1 to 5, the first of them 2" in told[1]
    assert updates(path) == [1, 3, 4, 5]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == text


def test_a_second_damaged_file_does_not_replace_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match="damaged"):
            resumed(tmp_path, "\n".join(["{bad", *ROWS, ""]).encode())
    assert sorted(p.name for p in tmp_path.glob("*.damaged*")) == [
        "metrics.jsonl.damaged",
        "metrics.jsonl.damaged-2",
    ]


def test_deleted_lines_are_noticed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="lacks 2 of the updates 1 to 5, the first of them 2"):
        path = resumed(tmp_path, "\n".join([ROWS[0], *ROWS[3:], ""]).encode())
    assert updates(path) == [1, 4, 5]


def test_repeated_lines_are_noticed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 6 lines"):
        path = resumed(tmp_path, "\n".join([*ROWS, ROWS[2], ""]).encode())
    assert updates(path) == [1, 2, 3, 4, 5]


def test_readers_are_told_of_a_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([ROWS[0], "{bad", *ROWS[2:], ""]))
    with pytest.raises(ValueError, match=r"line 2 of .*metrics.jsonl' is damaged"):
        read_metrics(path)


def test_a_pipe_or_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.mkdir()
    with pytest.raises(ValueError, match="must be a regular file, got a folder"):
        RunLog(tmp_path)
    path.rmdir()
    os.mkfifo(path)
    told: list[str] = []

    def open_log() -> None:
        try:
            RunLog(tmp_path)
        except ValueError as error:
            told.append(str(error))

    thread = threading.Thread(target=open_log, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert told and "must be a regular file, got a special file" in told[0]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".metrics.jsonl.0123456789abcdef.partial"
    left.write_text("half")
    other = tmp_path / ".metrics.jsonl.mine"
    other.write_text("whole")
    RunLog(tmp_path).__exit__(None, None, None)
    assert not left.exists()
    assert other.exists()


def test_a_full_disk_is_one_error_of_the_writer(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """TensorBoard's own writer has a thread for it, whose traceback would come first."""
    threads = threading.active_count()
    with pytest.raises(OSError, match="too large") as told, RunLog(tmp_path) as log:
        assert threading.active_count() == threads
        with files_of_at_most(2000):
            for update in range(1, 100):
                log.write({"update": float(update), "score": 0.5})
    assert told.value.errno == errno.EFBIG
    assert capsys.readouterr().err == ""
    assert 10 < len(read_metrics(tmp_path / "metrics.jsonl")) < 100


def test_tensorboard_reads_a_run_that_was_resumed(tmp_path: Path) -> None:
    for start, values in ((0, (0.1, 0.2, 0.3)), (2, (0.7, 0.8))):
        with RunLog(tmp_path, resume_after=start) as log:
            for update, value in enumerate(values, start=start + 1):
                log.write({"update": float(update), "score": value, "kl": float("nan")})
    curves = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(curves.Tags()["scalars"]) == ["kl", "score"]
    found = [(point.step, round(point.value, 6)) for point in curves.Scalars("score")]
    assert found == [(1, 0.1), (2, 0.2), (3, 0.7), (4, 0.8)]
