"""The map of horizons: its numbers, its words, its figures and its place on the page."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from studies.reporting.axes import successes
from studies.reporting.horizon.cells import HorizonMap, horizon_map
from studies.reporting.horizon.figures import (
    draw_arrivals,
    draw_regrets,
    horizon_plots,
    looks,
    panel_rows,
)
from studies.reporting.horizon.findings import basis, findings
from studies.reporting.horizon.tables import as_table, table_head, table_rows
from studies.reporting.plots import png
from studies.reporting.report import make_report
from studies.reporting.style import LIGHT, themed
from studies.results.csv_files import read_csv
from tests.studies.reporting.horizon.toy_maps import FULL, NEVER, Arrivals, frames, write_map
from tests.studies.reporting.test_report import Page, write_folder


def made(arrivals: Arrivals = FULL, agents: tuple[str, ...] = ("ppo",)) -> HorizonMap:
    tables = [frames(arrivals, agent) for agent in agents]
    runs = pd.concat([runs for runs, _ in tables], ignore_index=True)
    points = pd.concat([points for _, points in tables], ignore_index=True)
    found = horizon_map(successes(runs), points)
    assert found is not None
    return found


def test_a_cell_holds_the_median_arrival_and_the_regret():
    found = made()
    assert found.axes == ("agent", "density", "gamma")
    assert (found.families, found.horizons, found.budget) == (["delay", "needles"], [8, 64], 1000)
    line = found.line("delay", ("ppo", "terminal", "1"))
    assert [cell.horizon for cell in line] == [8, 64]
    assert [(cell.arrival.value, cell.arrival.low, cell.arrival.high) for cell in line] == [
        (200, 100, 300),
        (800, 700, NEVER),
    ]
    assert [(cell.arrived, cell.runs) for cell in line] == [(5, 5), (4, 5)]
    assert line[0].start == pytest.approx(0.8)
    # Regrets 0.04 times 1, 1.1, … 1.4: the middle half of five are three.
    assert line[0].regret is not None
    assert line[0].regret.value == pytest.approx(0.04 * 1.2)


def test_a_grid_without_two_horizons_of_a_family_has_no_map():
    runs, points = frames({key: value for key, value in FULL.items() if key[1] == 8})
    assert horizon_map(successes(runs), points) is None
    assert horizon_map(successes(runs.drop(columns="family")), points) is None
    assert horizon_map(successes(runs), points.drop(columns="gained")) is None


def test_tasks_of_no_family_stay_off_the_map():
    runs, points = frames()
    other = runs.head(1).assign(run_id="toy", family=np.nan, horizon=np.nan, task="toy15")
    found = horizon_map(successes(pd.concat([runs, other], ignore_index=True)), points)
    assert found is not None
    assert found.families == ["delay", "needles"]


def test_the_words_say_what_differs_and_what_does_not():
    told = findings(made())
    assert list(told) == ["delay at T = 64", "needles at T = 64"]
    delay, needles = ("\n".join(lines).replace("\u00a0", " ") for lines in told.values())
    assert "1 of 4 settings gain 90 % in no seed: terminal γ 0.9." in delay
    assert "Soonest: every_1 γ 1, after 300 [200, 300] episodes." in delay
    assert (
        "density: every_1 arrives before terminal, intervals outside each other, in 2 of 2 matched "
        "pairs (at T = 8: in 0 of 2); for γ 0.9, 300 [200, 400] episodes against never."
    ) in delay
    # 700 to never, and never: whether the discount matters here the budget does not tell.
    assert "gamma: no difference is seen between 1 and 0.9: the intervals touch in 2 of 2" in delay
    assert "Every setting gains 90 % within the budget." in needles
    assert "density: no difference is seen between terminal and every_1: the inter" in needles
    assert "gamma" not in needles
    assert "over 5 seeds" in basis(made()) and "after 1,000 episodes" in basis(made())


def test_where_neither_arrives_the_words_say_so():
    lost: Arrivals = {
        ("lock", horizon, (density, 1.0)): [NEVER if horizon == 32 else 3] * 5
        for horizon in (8, 32)
        for density in ("terminal", "every_1")
    }
    (lines,) = findings(made(lost)).values()
    assert lines[0].startswith("No setting gains 90\u00a0% in any seed")
    assert not any(line.startswith("Soonest") for line in lines)
    assert "in 1 of 1 matched pairs, in 1 because neither arrives" in lines[1]


def test_where_nothing_arrives_at_any_horizon_one_sentence_is_enough():
    lost: Arrivals = {
        ("lock", horizon, (density, 1.0)): [NEVER] * 5
        for horizon in (8, 32)
        for density in ("terminal", "every_1")
    }
    (lines,) = findings(made(lost)).values()
    assert len(lines) == 1
    assert lines[0].startswith("No setting gains")


def test_the_budget_is_on_the_axis_where_no_round_number_is():
    only_at_the_end: Arrivals = {
        ("delay", horizon, ("terminal", 1.0)): [16] * 5 for horizon in (8, 32)
    }
    runs, points = frames(only_at_the_end)
    # 16 updates of 10 episodes.
    points = points.assign(episodes=points["episodes"] * 0.16)
    points.loc[points["update"] == 10, "gained"] = 0.95
    found = horizon_map(successes(runs), points)
    assert found is not None and found.budget == 160
    with themed(LIGHT):
        figure = draw_arrivals(found, stacked=False)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["160", "never"]


def test_settings_that_win_and_lose_are_both_told():
    crossed: Arrivals = {
        ("delay", horizon, (density, gamma)): [arrival] * 5
        for horizon in (8, 32)
        for (density, gamma), arrival in {
            ("terminal", 1.0): 2,
            ("every_1", 1.0): 5,
            ("terminal", 0.9): 5,
            ("every_1", 0.9): 2,
        }.items()
    }
    (lines,) = findings(made(crossed)).values()
    density = [line for line in lines if line.startswith("density")]
    assert [line.split(",")[0] for line in density] == [
        "density: terminal arrives before every_1",
        "density: every_1 arrives before terminal",
    ]
    assert all("in 1 of 2 matched pairs" in line for line in density)


def test_the_table_and_the_file_hold_the_same_numbers():
    found = made()
    assert table_head(found)[:5] == ("family", "T", "agent", "density", "gamma")
    rows = {tuple(text for text, _ in row[:5]): row[5:] for row in table_rows(found)}
    assert rows["delay", "64", "ppo", "terminal", "1"][:2] == (
        ("4 of 5", ""),
        ("800", "[700, never]"),
    )
    assert rows["delay", "64", "ppo", "terminal", "0.9"][:2] == (("0 of 5", ""), ("never", ""))
    assert rows["delay", "8", "ppo", "terminal", "1"][2] == ("0.0480", "[0.0427, 0.0547]")
    file = as_table(found).set_index(["family", "horizon", "density", "gamma"])
    assert list(file.loc["delay", 64, "terminal", "1"][["episodes", "episodes_high"]]) == [
        800,
        "never",
    ]


def heights(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata(), dtype=float).tolist()


def test_what_never_arrives_is_on_the_top_line():
    found = made()
    with themed(LIGHT):
        figure = draw_arrivals(found, stacked=False)
    delay = figure.axes[0]
    assert [label.get_text() for label in delay.get_yticklabels()][-1] == "never"
    top = delay.yaxis.get_majorticklocs()[-1]
    assert top == 2000
    hollow = [heights(line) for line in delay.lines if line.get_markerfacecolor() == LIGHT.paper]
    assert [found for found in hollow if found] == [[top]]
    # The interval of the setting with one such run ends there too.
    drawn = [lines for lines in delay.collections if isinstance(lines, LineCollection)]
    ends = [float(y) for lines in drawn for end in lines.get_segments() for y in end[:, 1]]
    assert ends.count(top) == 3
    low, high = delay.get_ylim()
    assert low < 100 < top < high


def test_regrets_are_drawn_beside_that_of_the_reference():
    with themed(LIGHT):
        figure = draw_regrets(made(), stacked=False)
    level = [heights(line) for ax in figure.axes for line in ax.lines]
    assert sum(found == pytest.approx([0.8, 0.8]) for found in level) == 2


def test_each_agent_has_a_row_of_panels_and_each_setting_a_look():
    found = made(agents=("ppo", "grpo"))
    assert list(panel_rows(found)) == ["ppo", "grpo"]
    shown = looks(found)
    assert shown["ppo", "terminal", "1"] == shown["grpo", "terminal", "1"]
    assert len({shown[one] for one in panel_rows(found)["ppo"]}) == 4
    assert [plot.panels for plot in horizon_plots(found)] == [4, 4]
    assert all(png(plot, LIGHT, stacked=True)[:4] == b"\x89PNG" for plot in horizon_plots(found))


def test_the_page_shows_the_map_first(tmp_path: Path):
    write_map(tmp_path)
    files = {path.name for path in make_report(tmp_path)}
    assert {"horizon-episodes.png", "horizon-regret.png", "horizons.csv"} <= files
    # Beside it, of every task its curves alone.
    assert {name for name in files if name.startswith("1-")} == {"1-delay-8-curves-j_ratio.png"}
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = page.text.replace("\u00a0", " ")
    assert text.index("Map of horizons") < text.index("Settings compared on delay-8")
    assert "1 of 4 settings gain 90 % in no seed" in text
    labels = [value for name, value in page.attributes if name == "data-label"]
    assert "episodes to 90\u00a0%" in labels
    assert len(read_csv(tmp_path / "horizons.csv")) == 12


def test_a_grid_of_one_task_has_no_map(tmp_path: Path):
    write_folder(tmp_path)
    assert not {path.name for path in make_report(tmp_path)} & {"horizons.csv"}
    assert "Map of horizons" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_names_of_hostile_families_are_escaped(tmp_path: Path):
    hostile = "<script>alert(1)</script>"
    write_map(tmp_path, {(hostile, t, s): v for (_, t, s), v in FULL.items() if s[1] == 1.0})
    make_report(tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert hostile in page.text


def test_a_single_seed_has_no_interval_and_no_contrast():
    one: Arrivals = {key: values[:1] for key, values in FULL.items()}
    found = made(one)
    assert all(cell.arrival.low is None for cell in found.cells)
    assert not any("arrives before" in line for lines in findings(found).values() for line in lines)
    assert math.isfinite(found.cells[0].arrival.value)
    assert len(horizon_plots(found)) == 2
