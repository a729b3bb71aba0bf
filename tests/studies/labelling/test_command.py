"""The command line of `scripts/label.py`."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studies.cli.commands.label import main
from tests.studies.labelling.browser import ROOT, serving
from tests.studies.labelling.made import judge, new_store, pairs, write_rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", pairs(3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"data": None}, "--data must name the file of responses to judge, got none"),
        ({"data": "none.jsonl"}, "--data must be an existing file, got 'none.jsonl', which is no"),
        ({"ask": "guess"}, "--ask must be one of compare, rank, thumbs, rate, mark, got 'guess'"),
        ({"scale": [5, 1]}, "--scale must be two whole numbers, the higher last"),
        ({"scale": [1, 50]}, "with at most 11 points, got 1 50"),
        ({"error-types": ["good"]}, "--error-types must be 1 to 9 different names other than good"),
        ({"annotators-per-item": 0}, "--annotators-per-item must be a whole number of at least 1"),
        ({"port": 70000}, "--port must be a whole number"),
        ({"host": "192.0.2.1"}, "--host and --port must be a free address of this machine"),
        ({"allow-host": ["*"]}, "--allow-host must be a name as browsers send it"),
        ({"instructions": "none.txt"}, "--instructions must be an existing file, got 'none.txt'"),
        ({"seed": -1}, "--seed must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_nothing_is_made(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: dict[str, Any],
    message: str,
) -> None:
    said = {"data": data, "out": tmp_path / "out"} | words
    line: list[str] = []
    for name, value in said.items():
        values = value if isinstance(value, list) else [value]
        line += [f"--{name}", *map(str, values)] if value is not None else []
    assert main(line) == 2
    found = capsys.readouterr().err
    assert found.startswith("label: ")
    assert found.count("\n") == 1
    assert message in found
    assert not (tmp_path / "out").exists()


def test_a_port_that_is_taken_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([f"--data={data}", f"--out={tmp_path / 'out'}", f"--port={port}"]) == 2
    assert f"got 127.0.0.1 {port}: address already in use" in capsys.readouterr().err


def test_a_folder_with_other_things_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--data={data}", f"--out={tmp_path}"]) == 2
    assert "--out must be empty or hold labels, got" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--seed=1"], "--seed must be what"),
        (["--annotators-per-item=2"], "got 2 instead of 1; give the same, or name another --out"),
        (["--ask=rank"], "--ask must be what"),
    ],
)
def test_a_folder_of_other_settings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], message: str
) -> None:
    new_store(tmp_path / "out", pairs(2)).close()
    words = [f"--data={tmp_path / 'out.jsonl'}", f"--out={tmp_path / 'out'}", "--port=0"]
    assert main([*words, *changes]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_other_data_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_store(tmp_path / "out", pairs(2)).close()
    assert main([f"--data={data}", f"--out={tmp_path / 'out'}", "--port=0"]) == 2
    assert "--data must be what" in capsys.readouterr().err


def test_export_writes_files_and_says_how_far_people_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = new_store(tmp_path / "out", pairs(2))
    judge(store, 1, "Ada", choice="a")
    assert main([f"--out={tmp_path / 'out'}", "--export"]) == 0
    printed = capsys.readouterr().out.splitlines()
    names = ["comparisons.jsonl", "clicks.jsonl", "summary.json"]
    assert printed == [*(str(tmp_path / "out" / name) for name in names), "1 of 2 labeled"]
    assert json.loads((tmp_path / "out" / "comparisons.jsonl").read_text())["votes"] == ["a"]
    assert main([f"--out={tmp_path / 'none'}", "--export"]) == 2
    assert "must hold labels.sqlite" in capsys.readouterr().err


def test_ctrl_c_closes_the_page_and_a_second_page_is_refused(data: Path, tmp_path: Path) -> None:
    words = (f"--data={data}", f"--out={tmp_path / 'out'}")
    with serving(*words) as server:
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
        second = subprocess.run(
            [sys.executable, str(ROOT / "scripts/label.py"), *words, "--port=0"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2
        assert "whose page is open; use that one, or name another folder" in second.stderr
        token = server.token
        server.process.send_signal(signal.SIGINT)
        said, _ = server.process.communicate(timeout=60)
        assert server.process.returncode == 130
        assert said.splitlines()[-2:] == [
            "0 of 3 labeled",
            "label: interrupted; every click is kept, the same command opens the page again",
        ]
        assert "Traceback" not in said
        server.start()
        assert server.token == token
