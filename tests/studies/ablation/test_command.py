from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from studies.cli.commands.ablate import main
from studies.execution.pool import Runner
from tests.studies.toy_grids import ablate, rows
from tests.studies.toy_runs import (
    counting,
    exiting,
    failing_for_grpo,
    killing_its_worker_once_per_seed_1,
    no_pickle,
    quick,
    raising_keyboard_interrupt,
)

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize(
    ("runner", "error"),
    [(raising_keyboard_interrupt, "KeyboardInterrupt:"), (no_pickle, "Can't pickle")],
)
def test_whatever_a_run_raises_or_returns_is_a_row(tmp_path: Path, runner: Runner, error: str):
    assert ablate(tmp_path, runner=runner) == 1
    assert {row["status"] for row in rows(tmp_path)} == {"failed"}
    assert error in rows(tmp_path)[0]["error"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--gamma", "1.5"), "gamma must be a number from 0 to 1, got 1.5"),
        (("--density", "evry_k"), "did you mean 'every_k'"),
        (("--jobs", "0"), "jobs must be a whole number of at least 1, got 0"),
        (("--task", "revews"), "did you mean 'reviews'"),
        (("--seeds", "100000000"), "at most 100,000 runs, got 400,000,000"),
        (("--seeds", "9" * 20), "seeds must be a whole number of at most"),
        (("--gamma", "0.9", "--gamma", "1"), "--gamma must be given once, got it 2 times"),
        (("--kl-coef", "1", "--kl_coef=2"), "give all values after one --kl-coef"),
    ],
)
def test_bad_settings_make_no_folder(tmp_path: Path, capsys, more: tuple[str, ...], message: str):
    assert ablate(tmp_path / "out", *more) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_grid_of_0_updates_compares_untrained_agents(tmp_path: Path):
    assert ablate(tmp_path, "--updates", "0", "--report") == 0
    assert len(rows(tmp_path)) == 8


def test_help_is_quick_and_needs_no_torch():
    code = (
        "import sys, time; start = time.process_time()\n"
        "from studies.cli.commands.ablate import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), 'heavy imports'\n"
        "print('seconds', time.process_time() - start)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout.split()[-1]) < 1.0
    assert "Discount factors per decision" in found.stdout


def test_only_workers_load_torch(tmp_path: Path):
    """Those of a grid on built-in tasks; the stacks, their reasons and the frontier are theirs."""
    code = (
        "import sys\n"
        "from studies.cli.commands.ablate import main\n"
        "if __name__ == '__main__':\n"
        "    words = '--agent grpo --gamma 1 --density terminal --granularity token --updates 1'\n"
        "    more = ['--seeds', '2', '--jobs', '1', '--no-report', '--out', sys.argv[1]]\n"
        "    assert main([*words.split(), *more]) == 0\n"
        "    assert not {'torch', 'transformers'} & set(sys.modules), 'heavy imports'\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    found = subprocess.run(
        [sys.executable, script, tmp_path / "out"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    assert "2 runs train as 1 stack\n" in found.stderr
    assert (tmp_path / "out" / "frontier.csv").exists()
