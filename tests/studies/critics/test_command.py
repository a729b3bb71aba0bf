"""The study of critics: what it compares, and the rows, figure and tables that it writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from agents import PPO
from studies.cli.commands.critics import main
from studies.critics.figure import draw
from studies.critics.learning import learn
from studies.critics.settings import ARMS, Job, Study, jobs_of
from studies.critics.tables import gain_table, page_tables
from studies.reporting.style import LIGHT, themed

FOLDER = Path(__file__).parents[3] / "docs" / "results"


def row(arm: str, seed: int, update: int, gained: float) -> dict[str, object]:
    return {
        "task": "delay-8",
        "arm": arm,
        "seed": seed,
        "update": update,
        "episodes": 8 * update,
        "gained": gained,
        "critic_rmse": 0.5,
    }


def test_every_arm_begins_with_the_same_episodes() -> None:
    """A warm-up draws its own before; then the policy's updates are counted, not the critic's."""
    plain, warm = (
        learn(Job(task="delay-8", arm=arm, seed=1, updates=2, episodes=8))
        for arm in ("λ 0.95", "λ 0.95, both")
    )
    assert [one["update"] for one in warm] == [1, 2]
    assert [one["episodes"] for one in plain] == [8, 16]
    assert [one["episodes"] for one in warm] == [40, 48]
    assert abs(warm[0]["critic_bias"]) < abs(plain[0]["critic_bias"])
    assert plain[0]["critic_explained_variance"] == 0.0
    assert set(ARMS) == {job.arm for job in jobs_of(Study())}
    for settings in ARMS.values():
        PPO.config_class(**settings)


def test_tables_and_figure() -> None:
    rows = pd.DataFrame(
        [
            row(arm, seed, update, 0.1 * update)
            for arm in ARMS
            for seed in (0, 1)
            for update in (1, 2)
        ]
    )
    table = gain_table(rows, "delay-8")
    assert table.splitlines()[0].startswith("| delay-8 | after 1 | after 2 | lowest |")
    assert table.splitlines()[2].startswith("| λ 1 | 0.100 [0.100, 0.100] | 0.200 [0.200, 0.200]")
    with themed(LIGHT):
        figure = draw(rows)
        FigureCanvasAgg(figure).draw()
    assert len(figure.axes) == 1
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0.0 and legend.x1 <= figure.bbox.x1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--tasks", "delay-4", "--updates", "1", "--episodes", "4", "--seeds", "1"]
    assert main([*asked, "--jobs", "1", "--out", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "curves.csv")
    assert list(rows["arm"]) == list(ARMS)
    assert (tmp_path / "critics.png").stat().st_size > 1000
    assert page_tables(rows) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--tasks", "toy15"], "tasks must be of a family"),
        (["--episodes", "6"], "multiple of PPO's 4 minibatches"),
        (["--seeds", "0"], "seeds must be"),
    ],
)
def test_what_cannot_be_run(
    asked: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked) == 2
    assert message in capsys.readouterr().err


def test_the_page_shows_the_rows() -> None:
    rows = pd.read_csv(FOLDER / "critics" / "curves.csv")
    text = (FOLDER / "critics.md").read_text()
    assert len(rows) == len(jobs_of(Study())) * Study.updates
    for table in page_tables(rows).split("\n\n"):
        assert table in text
