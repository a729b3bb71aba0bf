from __future__ import annotations

import csv
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_runs import (
    counting,
    exiting,
    failing_for_grpo,
    interrupted,
    killing_its_worker_once_per_seed_1,
    quick,
)

from scripts.ablate import main
from scripts.ablation.pool import Runner

ROOT = Path(__file__).parents[2]
SMALL = [
    *("--agent", "ppo", "grpo", "--gamma", "0.5", "1.0", "--density", "terminal"),
    *("--granularity", "token", "--seeds", "2", "--updates", "2", "--jobs", "1"),
]


def ablate(folder: Path, *more: str, runner: Runner = quick) -> int:
    return main([*SMALL, "--no-report", *more, "--out", str(folder)], runner)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_leaves_tables_figures_and_a_report(tmp_path: Path, capsys):
    assert ablate(tmp_path / "out", "--report") == 0
    found = rows(tmp_path / "out")
    assert len(found) == 8
    assert {row["status"] for row in found} == {"ok"}
    assert [row["score"] for row in found if row["agent"] == "ppo"] == [
        "0.5",
        "1.0",
        "0.51",
        "1.01",
    ]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {
        "settings.json",
        "results.csv",
        "curves.csv",
        "samples.jsonl",
        "report.html",
        "curves-score.png",
        "heatmap.png",
        "frontier.png",
    }
    out = capsys.readouterr().out
    assert "0.505 [0.500, 0.510]" in out
    assert "report.html" in out


def test_a_failed_run_stays_as_a_row_and_the_grid_goes_on(tmp_path: Path, capsys):
    assert ablate(tmp_path, runner=failing_for_grpo) == 1
    failed = [row for row in rows(tmp_path) if row["status"] == "failed"]
    assert len(rows(tmp_path)) == 8
    assert {row["agent"] for row in failed} == {"grpo"}
    assert failed[0]["error"] == "RuntimeError: =cmd() second line ?[31m"
    assert failed[0]["score"] == ""
    assert "4 of 8 runs failed" in capsys.readouterr().err


def test_a_run_that_exits_the_process_is_a_failed_run(tmp_path: Path):
    assert ablate(tmp_path, "--seeds", "1", "--agent", "ppo", runner=exiting) == 1
    assert rows(tmp_path)[0]["error"] == "SystemExit: 3"


def test_a_run_that_kills_its_worker_costs_no_other_run(tmp_path: Path):
    assert ablate(tmp_path, "--jobs", "2", runner=killing_its_worker_once_per_seed_1) == 1
    status = {row["run_id"]: row["status"] for row in rows(tmp_path)}
    assert len(status) == 8
    assert {name for name, found in status.items() if found == "failed"} == {
        name for name in status if name.endswith("-s1")
    }
    assert "worker process died" in rows(tmp_path)[-1]["error"]


def test_finished_runs_are_not_run_again(tmp_path: Path, monkeypatch):
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("TOY_RUNS_MARKS", str(marks))
    assert ablate(tmp_path / "out", runner=counting) == 0
    before = (tmp_path / "out" / "results.csv").read_bytes()
    removed = next((tmp_path / "out" / "runs").glob("*-s1.json"))
    removed.unlink()
    assert ablate(tmp_path / "out", runner=counting) == 0
    assert len(list(marks.iterdir())) == 9
    strip = [row | {"seconds": ""} for row in rows(tmp_path / "out")]
    again = csv.DictReader(before.decode().splitlines())
    assert strip == [row | {"seconds": ""} for row in again]


def test_a_damaged_record_is_run_again(tmp_path: Path):
    ablate(tmp_path)
    record = next((tmp_path / "runs").glob("*.json"))
    record.write_text('{"run": ')
    assert ablate(tmp_path) == 0
    assert json.loads(record.read_text())["status"] == "ok"


def test_failed_runs_are_run_again_only_when_asked(tmp_path: Path):
    ablate(tmp_path, runner=failing_for_grpo)
    assert ablate(tmp_path) == 1
    assert ablate(tmp_path, "--retry-failed") == 0
    assert {row["status"] for row in rows(tmp_path)} == {"ok"}


def test_every_row_says_how_to_run_it_alone(tmp_path: Path):
    ablate(tmp_path / "out")
    row = rows(tmp_path / "out")[-1]
    words = shlex.split(row["command"])
    assert words[:2] == ["python", "scripts/ablate.py"]
    alone = Path(words[-1])
    assert main(words[2:], quick) == 0
    assert [found["run_id"] for found in rows(alone)] == [row["run_id"]]
    assert rows(alone)[0]["score"] == row["score"]


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path, capsys):
    assert ablate(tmp_path, runner=interrupted) == 130
    err = capsys.readouterr().err
    assert "interrupted; finished runs are kept" in err
    assert "Traceback" not in err
    assert ablate(tmp_path) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--gamma", "1.5"), "gamma must be a number from 0 to 1, got 1.5"),
        (("--density", "evry_k"), "did you mean 'every_k'"),
        (("--jobs", "0"), "jobs must be a whole number of at least 1, got 0"),
        (("--task", "revews"), "did you mean 'reviews'"),
    ],
)
def test_bad_settings_make_no_folder(tmp_path: Path, capsys, more: tuple[str, ...], message: str):
    assert ablate(tmp_path / "out", *more) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_another_grid_is_refused_and_kept(tmp_path: Path, capsys):
    ablate(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert ablate(tmp_path, "--updates", "3") == 2
    assert "updates is 2 there and 3 here" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_or_a_foreign_folder_is_refused(tmp_path: Path, capsys):
    file = tmp_path / "thesis.txt"
    file.write_text("mine")
    assert ablate(file) == 2
    assert "must be a folder, got the file" in capsys.readouterr().err
    assert ablate(tmp_path) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_help_is_quick_and_needs_no_torch():
    code = (
        "import sys, time; start = time.process_time(); from scripts.ablate import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), 'heavy imports'\n"
        "print('seconds', time.process_time() - start)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout.split()[-1]) < 1.0
    assert "Discount factors per decision" in found.stdout


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "scripts/ablate.py", *SMALL, *more, "--out", str(folder)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_records(folder: Path, process: subprocess.Popen[str]) -> None:
    while not list((folder / "runs").glob("*.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_real_grid_goes_on_after_an_interrupt(tmp_path: Path, number: int, status: int):
    options = ("--updates", "20", "--seeds", "1")
    process = start(tmp_path, *options)
    wait_for_records(tmp_path, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in err
    kept = {path.name: path.read_bytes() for path in (tmp_path / "runs").glob("*.json")}
    assert len(kept) < 4

    process = start(tmp_path, *options)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert len(rows(tmp_path)) == 4
    assert {row["status"] for row in rows(tmp_path)} == {"ok"}
    assert {name: (tmp_path / "runs" / name).read_bytes() for name in kept} == kept
    assert "J/J*" in out
