"""The study of values and old episodes: what it runs, and the rows and tables that it writes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agents.settings import BUILT_IN_AGENTS
from studies.cli.commands.value_learning import main
from studies.value_learning.learning import GUIDED, run
from studies.value_learning.settings import BREAKS, METHODS, PARTS, Job, Study, jobs_of
from studies.value_learning.tables import arrival_tables, data_table, fixed_table, page_tables

FOLDER = Path(__file__).parents[3] / "docs" / "results"


def arrival(method: str, ratio: int, rate: float, seed: int, episodes: float) -> dict[str, Any]:
    return {
        "part": "arrival",
        "task": "toy15",
        "method": method,
        "ratio": ratio,
        "rate": rate,
        "size": 0,
        "seed": seed,
        "share": 0.9,
        "gained": 0.5 + rate,
        "arrival": episodes,
    }


def test_every_job_has_an_agent_with_its_settings() -> None:
    jobs = jobs_of(Study())
    assert {job.part for job in jobs} == set(PARTS)
    for job in jobs:
        if job.known.agent not in GUIDED:
            BUILT_IN_AGENTS[job.known.agent].config_class(**job.known.settings)
    corrected = [job for job in jobs if job.ratio and job.method in ("GRPO", "PPO")]
    assert corrected and all(job.known.settings["importance"] == "token" for job in corrected)
    assert not set(METHODS) & set(BREAKS)


@pytest.mark.parametrize("method", ["OREO", "A*-PO", "Q#"])
def test_those_that_claim_the_optimum_come_near_it_soon(method: str) -> None:
    row = run(Job(part="fixed", method=method, updates=120))
    assert row["share"] > 0.97


def test_old_episodes_are_learned_from() -> None:
    row = run(Job(part="arrival", method="OREO", ratio=2, episodes=64, seed=1))
    assert row["arrival"] == math.inf
    assert 0 < row["gained"] < 0.95


def test_data_are_the_same_for_all_methods() -> None:
    one = run(Job(part="uniform", method="OREO", size=64, updates=2, rate=0.0))
    assert one["gained"] == pytest.approx(0.0, abs=1e-6)


def test_a_method_is_shown_at_its_best_rate() -> None:
    rows = pd.DataFrame(
        [
            *(arrival("OREO", 0, 0.1, seed, 100 + seed) for seed in range(3)),
            *(arrival("OREO", 0, 0.2, seed, math.inf) for seed in range(3)),
            *(arrival("GRPO", 0, rate, seed, math.inf) for rate in (0.1, 0.2) for seed in range(3)),
        ]
    )
    lines = arrival_tables(rows).splitlines()
    assert lines[0] == "| toy15 | ratio 0 |"
    assert lines[2] == "| OREO | 101 [100, 102], at 0.1 |"
    assert lines[3] == "| GRPO | never, gained 0.70, at 0.2 |"


def test_tables() -> None:
    rows = pd.DataFrame(
        [
            {"part": part, "method": "OREO", "size": size, "seed": seed, "share": 0.5 + seed / 10}
            for part, sizes in {"fixed": [0], "uniform": [64, 256]}.items()
            for size in sizes
            for seed in range(2 if part == "uniform" else 1)
        ]
    )
    fixed, uniform = (part for _, part in rows.groupby("part", sort=False))
    assert fixed_table(fixed).splitlines()[2] == "| OREO | yes | 0.5000 |"
    head = "| uniform | 64 episodes | 256 episodes | lowest of 256 |"
    assert data_table(uniform).splitlines()[0] == head
    assert page_tables(rows) == f"{fixed_table(fixed)}\n\n{data_table(uniform)}"


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "value-based").glob("*.csv")), ids=lambda p: p.stem
)
def test_the_page_shows_the_rows(path: Path) -> None:
    page = (FOLDER / "value-based.md").read_text(encoding="utf-8")
    assert page_tables(pd.read_csv(path)) in page


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--parts", "breaks", "--updates", "1", "--jobs", "1", "--out", str(tmp_path)]
    assert main(asked) == 0
    rows = pd.read_csv(tmp_path / "breaks-toy15.csv")
    assert list(rows["method"]) == list(BREAKS)
    assert page_tables(rows) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--parts", "nothing"], "parts must be one of"),
        (["--tasks", "nowhere"], "tasks must be of this project"),
        (["--sizes", "4"], "sizes must be"),
        (["--methods", "SFT"], "methods must be one of"),
        (["--seeds", "0"], "seeds must be"),
    ],
)
def test_what_cannot_be_run(
    asked: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
