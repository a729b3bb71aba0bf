"""Grids over settings that have no option of their own."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.studies.toy_grids import ablate, rows

SET = ("--set", "default", "staleness=1", "staleness=1,entropy_target=0.4")


def test_they_are_a_column_an_axis_of_the_report_and_in_each_runs_command(tmp_path: Path) -> None:
    words = ("--agent", "ppo", "--gamma", "1.0", "--seeds", "2", *SET, "--report")
    assert ablate(tmp_path / "grid", *words) == 0
    found = rows(tmp_path / "grid")
    assert [row["set"] for row in found] == [*SET[1:]] * 2
    command = shlex.split(found[1]["command"])
    assert command[command.index("--set") + 1] == "staleness=1"
    report = (tmp_path / "grid" / "report.html").read_text(encoding="utf-8")
    assert "staleness=1,entropy_target=0.4" in report
    # Another grid; the folder holds this one.
    assert ablate(tmp_path / "grid", *words[:6], "--set", "staleness=2") == 2
