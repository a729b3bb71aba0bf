"""When gold turned, what the signals said, and the table of it, on runs made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.callbacks import Limits
from studies.cli.commands.early_warning import main
from studies.early_warning.grading import grade, runs_table, table

# Rises by 0.1 to update 10, falls by 0.1 to update 20; the response length jumps at update 12.
GOLD = [min(i, 20 - i) / 10 for i in range(1, 21)]
LENGTH = [20.0] * 11 + [30.0] * 9


def rows(gold: list[float], length: list[float]) -> list[dict[str, float]]:
    return [
        {"update": float(i + 1), "gold": g, "score": float(i), "response_length": n}
        for i, (g, n) in enumerate(zip(gold, length, strict=True))
    ]


def test_a_run_that_turned() -> None:
    """The mean of 8 … 12 is 0.88, the highest; that of 16 … 20 is 0.2."""
    graded = grade("a", rows(GOLD, LENGTH))
    assert graded.turned == 10
    assert graded.lost == pytest.approx(0.68)
    # The mean of 12 … 14 is 30, that of 11 … 13 is 26.7, that of 10 … 12 is 23.3.
    assert graded.alarms["length_drift"] == 13
    assert graded.lead("length_drift") == -3
    # Gold at 11 … 13 is 0.8 on average: 0.6 of 0.68 are still to come.
    assert graded.to_come["length_drift"] == pytest.approx(0.6 / 0.68)


def test_a_run_that_did_not_turn() -> None:
    graded = grade("b", rows([i / 10 for i in range(20)], LENGTH))
    assert (graded.turned, graded.lead("length_drift")) == (None, None)
    assert graded.alarms == {"length_drift": 13}
    assert graded.to_come == {}


def test_the_tables_tell_leads_from_false_alarms() -> None:
    runs = [grade("a", rows(GOLD, LENGTH)), grade("b", rows(sorted(GOLD), LENGTH))]
    assert "| `length_drift` | 1 of 1 | -3 [-3, -3] | 88 % | 1 of 1 |" in table(runs)
    assert "| `entropy` | 0 of 1 | – | – | 0 of 1 |" in table(runs)
    assert "| b | – | 0.00 | `length_drift` 13 |" in runs_table(runs)
    strict = Limits(length=0.6)
    assert grade("a", rows(GOLD, LENGTH), strict).alarms.get("length_drift") is None


def test_what_cannot_be_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--updates", "5"]) == 2
    assert "--updates must be a whole number of at least 12, got 5" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--seeds", "1", "--updates", "12", "--episodes", "8", "--pairs", "120"]
    small += ["--proxy-steps", "4", "--out", str(tmp_path / "study")]
    assert main(small) == 0
    first = (tmp_path / "study" / "points.csv").read_bytes()
    assert "| `disagreement` |" in capsys.readouterr().out
    (tmp_path / "study" / "runs" / "gold-0.csv").unlink()
    assert main(small) == 0
    assert (tmp_path / "study" / "points.csv").read_bytes() == first
    assert len(json.loads((tmp_path / "study" / "alarms.json").read_text())) == 3
    assert main([*small, "--kl-coef", "0.5"]) == 2
    assert "same settings" in capsys.readouterr().err
