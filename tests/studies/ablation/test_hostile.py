"""Cases 81 to 94 and 109 to 112 of ``docs/hostile-cases.md``, for the files of a grid."""

from __future__ import annotations

import json
import locale
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from studies.ablation.execute import execute
from studies.cli.commands.ablate import main
from studies.cli.commands.train import main as train
from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult
from studies.results.csv_files import read_csv, write_csv
from tests.studies.toy_grids import SMALL, ablate, contents, rows
from tests.studies.toy_runs import quick

ROOT = Path(__file__).parents[3]
ONE = ["--agent", "ppo", "--gamma", "1.0", "--seeds", "1"]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files of more than 2,000 bytes cannot be written, as where a quota is used up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def talkative(run: RunSettings) -> RunResult:
    """Like `quick`, with a record that takes some space."""
    found = quick(run)
    return RunResult(row=found.row, curve=found.curve * 50, samples=found.samples)


def test_a_full_disk_is_one_line_and_costs_no_finished_run(
    tmp_path: Path, capsys: pytest.CaptureFixture, request: pytest.FixtureRequest
):
    assert ablate(tmp_path, *ONE) == 0
    kept = contents(tmp_path / "runs")
    capsys.readouterr()
    request.getfixturevalue("full_disk")
    assert ablate(tmp_path, *ONE[:-1], "3", runner=talkative) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"ablate: cannot write to {tmp_path}: file too large"
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    assert contents(tmp_path / "runs") == kept
    assert not list(tmp_path.rglob(".*.json.*"))
    assert ablate(tmp_path, *ONE[:-1], "3", runner=talkative) == 0
    assert len(rows(tmp_path)) == 3


@pytest.mark.parametrize("name", ["two words", "µ-日本", "a/../b", "x" * 200, "-dash", "100%s{}"])
def test_a_folder_of_any_name_works(tmp_path: Path, name: str):
    (tmp_path / "a").mkdir()
    assert ablate(tmp_path / name, *ONE) == 0
    assert [row["status"] for row in rows(tmp_path / name)] == ["ok"]


@pytest.mark.parametrize("written", [1, 3, None, "x"])
def test_a_grid_of_another_format_is_refused_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture, written: object
):
    ablate(tmp_path, *ONE)
    settings = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps(settings | {"format": written}))
    before = contents(tmp_path)
    capsys.readouterr()
    assert ablate(tmp_path, *ONE) == 2
    error = capsys.readouterr().err
    assert f"out must be of format 2, got {tmp_path} of format {written}" in error
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("old", "new"), [('"score": 1.0', '"score": 9.0'), ('"sha256": "', "")])
def test_a_record_that_was_changed_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture, old: str, new: str
):
    ablate(tmp_path, *ONE)
    (record,) = (tmp_path / "runs").iterdir()
    text = record.read_text()
    assert old in text
    changed = re.sub(r'"sha256": "[0-9a-f]*", ', "", text) if not new else text.replace(old, new)
    record.write_text(changed)
    capsys.readouterr()
    assert ablate(tmp_path, *ONE) == 2
    error = capsys.readouterr().err
    assert f"{record} must hold the record of that run, got " in error
    assert len(error.splitlines()) == 1
    assert record.read_text() == changed


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture):
    ablate(tmp_path, *ONE)
    (record,) = (tmp_path / "runs").iterdir()
    whole, results = record.read_bytes(), (tmp_path / "results.csv").read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        record.write_bytes(flipped)
        status = ablate(tmp_path, *ONE)
        # What is no JSON any more is a record cut short: the run is done again.
        assert status == 2 or record.read_bytes() != bytes(flipped)
        record.write_bytes(whole)
    assert ablate(tmp_path, *ONE) == 0
    assert (tmp_path / "results.csv").read_bytes() == results


def test_a_finished_grid_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert ablate(tmp_path) == 0
    before, shown = contents(tmp_path), capsys.readouterr().out
    assert ablate(tmp_path) == 0
    assert contents(tmp_path) == before
    assert capsys.readouterr().out == shown


def test_clocks_and_dates_of_files_order_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ablate(tmp_path)
    before = (tmp_path / "results.csv").read_bytes(), (tmp_path / "curves.csv").read_bytes()
    for age, record in enumerate(sorted((tmp_path / "runs").iterdir())):
        os.utime(record, (4e9 - 1e6 * age, 4e9 - 1e6 * age))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    assert ablate(tmp_path) == 0
    monkeypatch.undo()
    time.tzset()
    after = (tmp_path / "results.csv").read_bytes(), (tmp_path / "curves.csv").read_bytes()
    assert after == before


def test_a_row_run_alone_is_the_row_to_the_last_digit(tmp_path: Path):
    words = [*ONE, "--density", "potential", "--granularity", "macro_2", "--kl-coef", "0.3"]
    words += ["--updates", "3", "--eval-episodes", "32", "--threads", "1", "--kl-estimator", "k1"]
    grid = tmp_path / "grid"
    assert ablate(grid, *words, "--first-seed", "7", runner=execute) == 0
    (row,) = rows(grid)
    again = shlex.split(row["command"])
    assert again[:2] == ["python", "scripts/ablate.py"]
    assert main([*again[2:], "--no-report"]) == 0
    (alone,) = rows(Path(again[-1]))
    own = ("seconds", "command")
    assert {k: v for k, v in alone.items() if k not in own} == {
        k: v for k, v in row.items() if k not in own
    }
    assert alone["status"] == "ok" and alone["seed"] == "7"
    assert "--threads 1" in row["command"]
    curves = [read_csv(folder / "curves.csv") for folder in (grid, Path(again[-1]))]
    assert (
        curves[0]
        .drop(columns="tokens_per_second")
        .equals(curves[1].drop(columns="tokens_per_second"))
    )


def test_no_cell_and_no_column_of_a_table_is_a_formula(tmp_path: Path):
    table = pd.DataFrame({"=cmd()": [1.0], "@x": ["-1+1"], "y": ["\n=2"], "z": ["1"]})
    write_csv(tmp_path / "t.csv", table)
    lines = (tmp_path / "t.csv").read_text()
    assert lines == "'=cmd(),'@x,y,z\n1.0,'-1+1,\"'\n=2\",1\n"
    back = read_csv(tmp_path / "t.csv")
    assert list(back.columns) == ["=cmd()", "@x", "y", "z"]
    assert back["@x"][0] == "-1+1" and back["y"][0] == "\n=2"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii", "COLUMNS": "40", "TERM": "dumb"},
        {"PYTHONIOENCODING": "latin-1", "NO_COLOR": "1", "COLUMNS": "300"},
    ],
)
def test_any_terminal_shows_something_readable(tmp_path: Path, environment: dict[str, str]):
    words = [*SMALL, "--no-report", "--out", str(tmp_path / "日本")]
    code = (
        "import sys\n"
        "from tests.studies.toy_runs import quick; from studies.cli.commands.ablate import main\n"
        f"if __name__ == '__main__': sys.exit(main({words!r}, quick))"
    )
    (tmp_path / "call.py").write_text(code)
    found = subprocess.run(
        [sys.executable, str(tmp_path / "call.py")],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert found.returncode == 0, found.stderr
    shown = found.stdout.decode("ascii")
    assert "\x1b" not in shown
    assert "0.505" in shown and "\\u65e5\\u672c" in shown
    assert "[8/8]" in found.stderr.decode("ascii", errors="replace")


def test_the_version_is_told_whatever_else_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    Path("settings.json").write_text("{")
    for command in (main, train):
        assert command(["--version", "--gamma", "many", "--out", "."]) == 0
        assert capsys.readouterr().out == "rlhf-env 0.1.0\n"


@pytest.mark.parametrize("words", [["--gama", "1"], ["--updates"], ["--updates", "many"], ["run"]])
def test_words_that_are_no_options_exit_with_2(words: list[str], capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_numbers_keep_their_points_where_people_write_commas(tmp_path: Path):
    before = locale.setlocale(locale.LC_ALL)
    for name in ("de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
            break
        except locale.Error:
            continue
    else:
        pytest.skip("no locale with decimal commas is installed")
    try:
        assert f"{0.5:n}" == "0,5"
        assert ablate(tmp_path) == 0
    finally:
        locale.setlocale(locale.LC_ALL, before)
    assert [row["score"] for row in rows(tmp_path)][:2] == ["0.5", "1.0"]
