from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from studies.cli.commands.scaling import main
from studies.execution.pool import Outcome, Runner, attempt
from studies.reporting.style import LIGHT, themed
from studies.scaling import session
from studies.scaling.figure import draw
from studies.scaling.learning import KEY, learn
from studies.scaling.settings import Job, Setting, Study, jobs_of, settings_of
from studies.scaling.tables import arrival_table, arrivals_of, ceiling, page_tables, ratio_table

RESULTS = Path(__file__).parents[3] / "docs/results"
SMALL = [
    "--families",
    "delay",
    "--horizons",
    "2",
    "4",
    "--agents",
    "rloo",
    "grpo",
    "--updates",
    "2",
    "--episodes",
    "16",
]


def in_this_process(jobs: list[Job], runner: Runner, count: int) -> Iterator[Outcome]:
    """Stand in for the pool, whose workers take seconds to start."""
    return (attempt(runner, job) for job in reversed(jobs))


def job(**changes: object) -> Job:
    given = {
        "family": "delay",
        "horizon": 4,
        "setting": Setting(agent="ppo"),
        "seed": 0,
        "updates": 40,
        "episodes": 32,
    }
    return Job(**{**given, **changes})  # type: ignore[arg-type]


def test_a_run_ends_when_it_has_gained_enough() -> None:
    found = learn(job())
    assert found["reached"] and 0.9 <= found["gained"] <= 1.0
    assert found["episodes"] % 32 == 0 and found["episodes"] < found["budget"] == 1280


def test_a_run_that_does_not_get_there_is_given_up() -> None:
    found = learn(job(updates=1))
    assert not found["reached"] and found["gained"] < 0.9
    assert found["episodes"] == found["budget"] == 32


def test_settings_differ_from_the_plain_one_in_one_thing() -> None:
    assert len(settings_of("ppo")) == len(settings_of("reinforce")) == 4
    assert [one.label for one in settings_of("grpo")] == [
        "grpo, terminal, token, γ = 1",
        "grpo, terminal, bandit, γ = 1",
        "grpo, terminal, token, γ = 0.99",
    ]
    assert settings_of("rloo") == [Setting(agent="rloo")]
    assert len(jobs_of(Study())) == 2 * 4 * 12 * 5


def rows_of(episodes: dict[tuple[str, int], list[float]], agent: str = "ppo") -> pd.DataFrame:
    """Rows of runs by granularity and horizon; infinity is never."""
    return pd.DataFrame(
        [
            {
                "family": "delay",
                "horizon": horizon,
                "agent": agent,
                "density": "terminal",
                "granularity": granularity,
                "gamma": 1.0,
                "seed": seed,
                "budget": 1000,
                "episodes": min(number, 1000),
                "reached": math.isfinite(number),
            }
            for (granularity, horizon), numbers in episodes.items()
            for seed, number in enumerate(numbers)
        ]
    )


def test_tables_of_known_runs() -> None:
    never = math.inf
    rows = rows_of(
        {
            ("token", 8): [100, 100, 100],
            ("token", 16): [200, 200, 200],
            ("token", 32): [400, 400, 400],
            ("bandit", 8): [200, 200, 200],
            ("bandit", 16): [500, 600, never],
            ("bandit", 32): [never, never, never],
        }
    )
    assert arrivals_of(rows, "delay", 16, Setting(agent="ppo", granularity="bandit")).tolist() == [
        500,
        600,
        never,
    ]
    assert arrival_table(rows, "delay").splitlines() == [
        "| delay | T = 8 | T = 16 | T = 32 | exponent a | never |",
        "|---|---|---|---|---|---|",
        "| ppo, terminal, token, γ = 1 | 100 [100, 100] | 200 [200, 200] | 400 [400, 400] "
        "| 1.00 [1.00, 1.00] (T ≤ 32) | 0 of 9 |",
        "| ppo, terminal, bandit, γ = 1 | 200 [200, 200] | 600 [500, never] | never | – | 4 of 9 |",
    ]
    assert ratio_table(rows, "delay").splitlines()[2:] == [
        "| ppo, terminal, bandit, γ = 1 | 2.00 [2.00, 2.00] | – (never: 1 of 3, plain 0 of 3) "
        "| – (never: 3 of 3, plain 0 of 3) |"
    ]


def test_what_a_discount_leaves() -> None:
    # J* 0.902574 at T = 32, of which the optimum of gamma 0.9 reaches 0.710335; the reference's J.
    start = 1 / 7.0183
    expected = (0.710335 * 0.902574 - start) / (0.902574 - start)
    assert ceiling("delay-32", 0.9) == pytest.approx(expected, abs=1e-3)
    assert ceiling("delay-32", 1.0) == pytest.approx(1.0)


def test_the_command_writes_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "outcomes", in_this_process)
    out = tmp_path / "new/out"
    assert main([*SMALL, "--seeds", "1", "--out", str(out)]) == 0
    first = pd.read_csv(out / "arrivals.csv")
    assert len(first) == 8 and not first.duplicated(list(KEY)).any()
    with Image.open(out / "scaling.png") as image:
        assert image.size[0] > 500
    assert "| rloo, terminal, token, γ = 1 |" in capsys.readouterr().out
    ran: list[Job] = []

    def counted(jobs: list[Job], runner: Runner, count: int) -> Iterator[Outcome]:
        ran.extend(jobs)
        return in_this_process(jobs, runner, count)

    monkeypatch.setattr(session, "outcomes", counted)
    assert main([*SMALL, "--seeds", "2", "--out", str(out)]) == 0
    assert {one.seed for one in ran} == {1} and len(ran) == 8
    both = pd.read_csv(out / "arrivals.csv")
    assert both[:8].equals(first)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--families delays", "families must be of brackets, chain"),
        ("--horizons 0", "horizons must be"),
        ("--agents pop", "agent must be one of"),
        ("--agents best_of_n", "agents must have a discount, got 'best_of_n'"),
        ("--updates 0", "updates must be"),
        ("--episodes 12", "episodes must be a multiple of 8, got 12"),
        ("--jobs 0", "jobs must be"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    words: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("scaling: ") and expected in error and error.count("\n") == 1


def test_a_failed_run_ends_the_study_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(jobs: list[Job], runner: Runner, count: int) -> Iterator[Outcome]:
        yield Outcome(run=jobs[0], result=None, seconds=0.0, error="MemoryError: none left")

    monkeypatch.setattr(session, "outcomes", failing)
    assert main([*SMALL, "--out", str(tmp_path)]) == 1
    assert "failed: MemoryError: none left" in capsys.readouterr().err


def test_a_figure_of_one_agent_that_never_arrives_has_its_scale_and_legend() -> None:
    study = Study(families=("delay",), horizons=(4, 8), agents=("reinforce",), seeds=1)
    rows = pd.DataFrame(
        [
            {
                **{name: getattr(job, name) for name in ("family", "horizon", "seed")},
                **dataclasses.asdict(job.setting),
                "episodes": 960,
                "budget": 960,
                "reached": False,
            }
            for job in jobs_of(study)
        ]
    )
    with themed(LIGHT):
        figure = draw(rows)
        FigureCanvasAgg(figure).draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0.0 and legend.x1 <= figure.bbox.x1
    low, high = figure.axes[0].get_ylim()
    assert low <= 120 and high >= 1200
    assert figure.axes[0].get_window_extent().x0 > 0.0


def test_the_page_shows_the_recorded_figures() -> None:
    page = (RESULTS / "horizon.md").read_text(encoding="utf-8")
    recorded = pd.read_csv(RESULTS / "horizon/arrivals.csv")
    assert np.isfinite(recorded["gained"]).all()
    for table in page_tables(recorded).split("\n\n"):
        assert table in page
