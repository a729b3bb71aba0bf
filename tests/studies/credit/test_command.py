from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from studies.cli.commands.credit import main
from studies.credit.settings import Job
from studies.credit.tables import credit_table
from studies.execution import results
from studies.execution.pool import Outcome, Runner, attempt

RESULTS = Path(__file__).parents[3] / "docs/results"
SMALL = [
    "--tasks",
    "needles-8",
    "--updates",
    "1",
    "--episodes",
    "16",
    "--graded",
    "16",
    "--pairs",
    "50",
    "--seeds",
    "2",
]


def in_this_process(jobs: list[Job], runner: Runner, count: int) -> Iterator[Outcome]:
    """Stand in for the pool, whose workers take seconds to start."""
    return (attempt(runner, job) for job in reversed(jobs))


def test_the_command_writes_rows_and_prints_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "outcomes", in_this_process)
    assert main([*SMALL, "--out", str(tmp_path / "new/out")]) == 0
    rows = pd.read_csv(tmp_path / "new/out/credit.csv")
    assert rows["seed"].tolist() == [0] * 13 + [1] * 13
    aucs = {name: set(part["auc"]) for name, part in rows.groupby("source")}
    assert aucs["exact advantage"] == aucs[TRUE] == {1.0}
    assert aucs["uniform"] == {0.5}
    assert f"| {TRUE} | 1.000 [1.000, 1.000] |" in capsys.readouterr().out


TRUE = "prefix differences, true score"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--tasks lock-8", "tasks must be of the families needles and chain"),
        ("--tasks needles", "tasks must be of the families needles and chain"),
        ("--updates 0", "updates must be"),
        ("--gae-lambdas 1.5", "gae_lambdas must be"),
        ("--pairs 10", "pairs must be"),
        ("--jobs 0", "jobs must be"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    words: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("credit: ") and expected in error and error.count("\n") == 1


def test_a_failed_job_ends_the_study_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(jobs: list[Job], runner: Runner, count: int) -> Iterator[Outcome]:
        yield Outcome(run=jobs[0], result=None, seconds=0.0, error="MemoryError: none left")

    monkeypatch.setattr(results, "outcomes", failing)
    assert main([*SMALL, "--out", str(tmp_path)]) == 1
    assert "needles-8 with seed 0 failed: MemoryError: none left" in capsys.readouterr().err


def test_the_page_shows_the_recorded_figures() -> None:
    page = (RESULTS / "credit.md").read_text(encoding="utf-8")
    assert credit_table(pd.read_csv(RESULTS / "credit/credit.csv")) in page
