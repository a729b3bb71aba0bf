"""What `make demo` runs: a grid that is accepted, small, and made of what the README says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import tyro

from studies.ablation.settings import Settings, check_settings
from studies.experiment.build import check_family_tasks
from studies.experiment.grid import grid, task_budgets
from tests.studies.toy_grids import rows
from tests.studies.toy_runs import quick

ROOT = Path(__file__).parents[3]


def demo_words() -> list[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"^demo:.*\n\t\$\(BIN\)/python scripts/ablate.py (.*)$", makefile, re.M)
    assert found is not None
    return shlex.split(found[1])


def test_the_demo_is_a_grid_of_two_families_at_three_horizons():
    settings = tyro.cli(Settings, args=demo_words())
    check_settings(settings)
    budgets = task_budgets(settings.axes, settings.budget)
    check_family_tasks(budgets)
    assert [own.task for own in budgets] == [
        *("delay-4", "delay-16", "delay-64"),
        *("chain-4", "chain-16", "chain-64"),
    ]
    runs = grid(settings.axes, settings.budget)
    assert len(runs) == 120
    assert {(run.density, run.gamma) for run in runs} == {
        *(("terminal", 0.9), ("terminal", 1.0), ("every_1", 0.9), ("every_1", 1.0)),
    }
    assert {run.seed for run in runs} == set(range(5))


def test_the_demo_leaves_the_files_that_the_readme_names(tmp_path: Path):
    from studies.cli.commands.ablate import main

    words = [*demo_words(), "--seeds", "1", "--no-report", "--jobs", "1"]
    words[words.index("--out") + 1] = str(tmp_path)
    assert main(words, quick) == 0
    found = rows(tmp_path)
    assert {row["status"] for row in found} == {"ok"}
    assert [row["horizon"] for row in found if row["family"] == "chain"][::4] == ["4", "16", "64"]
