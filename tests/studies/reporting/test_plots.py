from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from studies.reporting.axes import successes, varied_axes
from studies.reporting.heatmap import heat_map
from studies.reporting.improvement import comparisons
from studies.reporting.lines import panel_grid
from studies.reporting.plots import Tables, plots, png
from studies.reporting.style import LIGHT, themed
from studies.reporting.tables import as_text, cells, headline


def table(**columns: list) -> pd.DataFrame:
    """Four runs of two agents: the second agent's scores are higher by one."""
    base = {
        "run_id": ["a0", "a1", "b0", "b1"],
        "status": ["ok"] * 4,
        "error": [""] * 4,
        "agent": ["ppo", "ppo", "grpo", "grpo"],
        "gamma": [1.0] * 4,
        "density": ["terminal"] * 4,
        "granularity": ["token"] * 4,
        "gae_lambda": [0.95, 0.95, np.nan, np.nan],
        "kl_coef": [np.nan] * 4,
        "group_size": [np.nan, np.nan, 4.0, 4.0],
        "seed": [0, 1, 0, 1],
        "score": [1.0, 2.0, 2.5, 3.5],
        "kl": [0.5, 0.5, 1.0, 1.0],
    }
    return pd.DataFrame({**base, **columns})


def curves() -> pd.DataFrame:
    rows = [
        {
            "run_id": run,
            "update": update,
            "score": update * scale,
            "kl": 0.1 * update,
            "gold": 3.0 - update,
            "regret": 1.0 / update,
        }
        for run, scale in (("a0", 1.0), ("a1", 2.0), ("b0", 3.0), ("b1", 5.0))
        for update in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def tables(**columns: list) -> Tables:
    frontier = pd.DataFrame({"kl": [0.0, 1.0], "score": [0.0, 4.0]})
    return Tables.of(table(**columns), curves(), frontier)


def drawn(tables: Tables, name: str, *, stacked: bool = False) -> Figure:
    """Draw the figure of a name."""
    (plot,) = [plot for plot in plots(tables) if plot.name == name]
    with themed(LIGHT):
        return plot.draw(stacked)


def ydata(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def test_a_curve_is_the_interquartile_mean_of_its_runs():
    figure = drawn(tables(), "curves-score")
    lines = figure.axes[0].get_lines()
    np.testing.assert_allclose(ydata(lines[0]), [1.5, 3.0, 4.5])
    np.testing.assert_allclose(ydata(lines[1]), [4.0, 8.0, 12.0])
    (names,) = figure.legends
    assert [text.get_text() for text in names.get_texts()] == ["ppo", "grpo"]
    assert figure.axes[0].get_xlabel() == "update"
    assert figure.axes[0].get_ylabel() == "score"


def test_a_band_holds_every_run_where_there_are_two():
    # With two runs the bootstrap's 95 % are the runs themselves.
    (band, _) = drawn(tables(), "curves-score").axes[0].collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].min() == 1.0 and corners[:, 1].max() == 6.0


def test_lines_of_one_agent_differ_in_shade_width_and_dashes_as_the_legend_shows():
    same = {name: [np.nan] * 4 for name in ("gae_lambda", "group_size")}
    two = tables(agent=["ppo"] * 4, gamma=[0.9, 0.9, 1.0, 1.0], **same)
    figure = drawn(two, "curves-score")
    (names,) = figure.legends
    assert [text.get_text() for text in names.get_texts()] == ["ppo γ 0.9", "ppo γ 1"]
    drawn_lines, sampled = figure.axes[0].get_lines(), names.get_lines()
    for line, sample in zip(drawn_lines, sampled, strict=True):
        assert line.get_color() == sample.get_color()
        assert line.get_linestyle() == sample.get_linestyle()
    # Where both are equal, the pale one has to show on either side of the other.
    assert [line.get_color() for line in drawn_lines] == ["#80b8d8", "#0072b2"]
    assert [line.get_linewidth() for line in drawn_lines] == [3.4, 1.6]
    assert [line.get_linestyle() for line in drawn_lines] == ["-", "--"]


@pytest.mark.parametrize("name", ["curves-score", "heatmap"])
def test_stacked_panels_are_one_narrow_column(name: str):
    many = tables(density=["terminal", "every_k"] * 2, granularity=["token"] * 2 + ["bandit"] * 2)
    wide, narrow = drawn(many, name), drawn(many, name, stacked=True)
    assert narrow.get_figwidth() == 3.7 < wide.get_figwidth()
    columns = {place.get_subplotspec().colspan.start for place in narrow.axes[:4]}
    assert columns == {0}


def test_panels_have_the_same_scales():
    many = tables(density=["terminal", "every_k"] * 2)
    first, second = drawn(many, "curves-score").axes
    assert first.axis() == second.axis()
    assert first.axis()[3] >= 15.0


def test_any_setting_that_varies_makes_lines():
    figure = drawn(tables(kl_placement=["reward", "loss"] * 2), "curves-score")
    (names,) = figure.legends
    assert [text.get_text() for text in names.get_texts()] == [
        "ppo kl_placement reward",
        "ppo kl_placement loss",
        "grpo kl_placement reward",
        "grpo kl_placement loss",
    ]


def test_more_lines_than_one_can_tell_apart_are_pooled_and_the_caption_says_so():
    kl_coefs = [0.01 * step for step in range(20)]
    runs = pd.concat([table(kl_coef=[beta] * 4) for beta in kl_coefs], ignore_index=True)
    runs["run_id"] = [f"r{row}" for row in range(len(runs))]
    grid = panel_grid(successes(runs))
    assert [line.name for line in grid.lines] == ["ppo", "grpo"]
    assert [len(line.strata) for line in grid.lines] == [20, 20]
    assert grid.note == " Pooled in each line: kl_coef."


def test_more_panels_than_a_page_has_room_for_are_left_out_and_counted():
    densities = [f"every_{step}" for step in range(1, 10)]
    runs = pd.concat([table(density=[name] * 4) for name in densities], ignore_index=True)
    grid = panel_grid(successes(runs))
    assert (grid.rows, grid.columns) == (1, 6)
    assert grid.note == " Shown: 6 of 9 values of density; the others are in results.csv."


def test_an_update_without_a_number_is_left_out_and_a_later_row_wins():
    damaged = pd.DataFrame(
        {
            "run_id": ["a0", "a0", "a0", "a1", "a1", "a0"],
            "update": [1, 2, 3, 1, 3, 3],
            "score": [1.0, np.nan, 9.0, 3.0, 5.0, 7.0],
        }
    )
    found = Tables.of(table(), damaged, pd.DataFrame())
    (line,) = drawn(found, "curves-score").axes[0].get_lines()
    np.testing.assert_array_equal(np.asarray(line.get_xdata()), [1.0, 3.0])
    np.testing.assert_array_equal(ydata(line), [2.0, 6.0])


def test_gold_is_drawn_over_the_root_of_the_kl():
    dots, proxy = drawn(tables(), "gold").axes[0].get_lines()[:2]
    np.testing.assert_allclose(
        np.asarray(dots.get_xdata()), [0.316228, 0.447214, 0.547723], rtol=1e-5
    )
    np.testing.assert_allclose(ydata(dots), [2.0, 1.0, 0.0])
    np.testing.assert_allclose(ydata(proxy), [1.5, 3.0, 4.5])


def gold_tables(gold: Callable[[np.ndarray], np.ndarray]) -> Tables:
    """One agent whose gold score over 40 updates is a function of the distance."""
    distance = np.sqrt(np.linspace(0.0, 16.0, 40))
    points = {"update": np.arange(1, 41), "kl": distance**2, "score": distance}
    rows = [pd.DataFrame({"run_id": run, **points, "gold": gold(distance)}) for run in ("a0", "a1")]
    return Tables.of(table(), pd.concat(rows), pd.DataFrame())


def test_the_table_under_gold_holds_the_laws_that_were_fitted():
    # d (2 − 0.3 d) from a start of 0.5: the peak of REFERENCE 3, 3.3333 above the start.
    (plot,) = [
        one for one in plots(gold_tables(lambda d: 0.5 + d * (2 - 0.3 * d))) if one.name == "gold"
    ]
    first, second = plot.rows
    assert first == (
        *("token, terminal", "ppo", "best-of-n", "2.000", "0.300", "1.000", "3.33", "3.833"),
    )
    assert second[2] == "RL" and 0.9 < float(second[5]) < 1.0


def test_a_law_that_explains_little_is_listed_and_not_drawn():
    noise = np.random.default_rng(0).normal(size=40)
    found = gold_tables(lambda d: noise)
    (plot,) = [one for one in plots(found) if one.name == "gold"]
    assert {row[6] for row in plot.rows} == {"fits poorly"}
    dots, _, smoothed = drawn(found, "gold").axes[0].get_lines()
    assert len(smoothed.get_xdata()) == len(dots.get_xdata()) == 40


TWO_GAMMAS = {"gamma": [0.9, 0.9, 1.0, 1.0], "agent": ["ppo"] * 4}


def test_the_heat_map_has_the_number_and_its_interval_in_every_cell():
    figure = drawn(tables(**TWO_GAMMAS), "heatmap")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["1.500\n[1.000, 2.000]", "3.000\n[2.500, 3.500]"]


def test_the_heat_map_pools_what_it_does_not_show_and_says_so():
    found = heat_map(successes(table(kl_coef=[0.1, 0.2, 0.1, 0.2])), "score")
    assert [str(one) for one in found.cells.values()] == ["1.500", "3.000"]
    assert found.note == " Settings that differ in other axes are pooled."


def test_a_cell_without_a_run_says_so():
    one_missing = {**TWO_GAMMAS, "density": ["terminal", "terminal", "terminal", "potential"]}
    texts = [text.get_text() for text in drawn(tables(**one_missing), "heatmap").axes[0].texts]
    assert texts == ["1.500\n[1.000, 2.000]", "no run", "2.500", "3.500"]


def test_runs_that_ended_well_without_the_figure_are_not_measured():
    absent = {**TWO_GAMMAS, "j_ratio": [0.5, 0.7, np.nan, np.nan]}
    texts = [text.get_text() for text in drawn(tables(**absent), "heatmap").axes[0].texts]
    assert texts == ["0.600\n[0.500, 0.700]", "not\nmeasured"]
    found = comparisons(table(j_ratio=[0.5, 0.7, np.nan, np.nan]), "j_ratio", ["j_ratio"])
    assert [(one.value, one.measured) for one in found] == [("grpo", False)]
    assert "not measured" in as_text(table(j_ratio=[0.5, 0.7, np.nan, np.nan]), width=200)


def test_figures_estimated_from_episodes_say_so():
    text = as_text(
        table(j_ratio=[0.5, 0.7, 0.8, 0.9], objective_episodes=[np.nan, np.nan, 256.0, 256.0]),
        width=200,
    )
    assert "J/J* and regret of grpo are estimated from 256 episodes of each run." in text
    assert "of ppo" not in text


def test_the_heat_map_has_a_scale_that_does_not_exaggerate():
    figure = drawn(tables(score=[0.99, 0.99, 1.0, 1.0], **TWO_GAMMAS), "heatmap")
    bar = figure.axes[-1]
    assert bar.get_xlabel() == "Score (proxy reward)"
    np.testing.assert_allclose(bar.get_xlim(), [0.9, 1.0])


def test_the_frontier_shows_every_run_and_every_setting():
    place = drawn(tables(), "frontier").axes[0]
    lines = place.get_lines()
    np.testing.assert_allclose(ydata(lines[0]), [1.0, 2.0])
    np.testing.assert_allclose(ydata(lines[1]), [1.5])
    np.testing.assert_allclose(ydata(lines[-1]), [0.0, 4.0])
    # The arms of the first setting's score reach from one run to the other.
    arms = [np.asarray(arm.get_segments()[0], dtype=float) for arm in place.collections]
    np.testing.assert_allclose(arms[1], [[0.5, 1.0], [0.5, 2.0]])


def test_figures_are_png_files():
    found = plots(tables(**TWO_GAMMAS))
    names = ["curves-score", "heatmap", "frontier", "gold", "curves-regret", "curves-kl"]
    # Gold was measured along the curves only, so the proxy stays what runs are compared by.
    assert [plot.name for plot in found] == names
    with Image.open(io.BytesIO(png(found[1], LIGHT))) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_without_a_grid_there_is_no_heat_map():
    assert "heatmap" not in [plot.name for plot in plots(tables())]


def test_without_data_there_are_no_figures():
    nothing = pd.DataFrame()
    assert plots(Tables.of(nothing, nothing, nothing)) == []
    assert plots(Tables.of(table(status=["failed"] * 4), nothing, nothing)) == []


def test_a_cell_counts_its_failures_and_leaves_their_numbers_out():
    found = cells(table(status=["ok", "failed", "ok", "ok"]))
    assert [(cell.runs, cell.failed) for cell in found] == [(1, 1), (2, 0)]
    assert found[0].estimates["score"].value == 1.0
    assert found[1].settings["gae_lambda"] == "–"
    assert found[1].settings["group_size"] == "4"


def test_axes_that_only_differ_between_agents_are_not_varied():
    assert varied_axes(table()) == ["agent"]
    assert varied_axes(table(kl_coef=[0.1, 0.2, 0.1, 0.2])) == ["agent", "kl_coef"]


def test_runs_of_several_tasks_have_lines_of_their_own():
    found = cells(table(agent=["ppo"] * 4, task=["toy15", "toy15", "reviews", "reviews"]))
    assert [cell.settings["task"] for cell in found] == ["toy15", "reviews"]
    assert "task" not in cells(table())[0].settings
    text = as_text(table(agent=["ppo"] * 4, task=["toy15", "toy15", "reviews", "reviews"]))
    assert text.splitlines()[0].split()[:2] == ["task", "agent"]


def test_the_headline_is_the_truest_measure():
    assert headline(table()) == "score"
    assert headline(table(gold=[1.0] * 4)) == "gold"
    assert headline(table(gold=[1.0] * 4, j_ratio=[1.0] * 4)) == "j_ratio"
    assert headline(table(gold=[np.nan] * 4)) == "score"


def test_the_terminal_table_is_plain_text():
    lines = as_text(table()).splitlines()
    assert lines[0].split() == ["agent", "runs", "score", "KL", "(nats)"]
    assert lines[1].split()[:3] == ["ppo", "2", "1.500"]
    assert as_text(pd.DataFrame()) == "no runs"


def measured() -> pd.DataFrame:
    more = {name: [0.25, 0.5, 0.75, 1.0] for name in ("j_ratio", "regret", "win_rate", "entropy")}
    return table(**more)


def test_the_terminal_table_is_no_wider_than_the_terminal():
    for width in (200, 120, 100, 80, 60, 40):
        assert max(map(len, as_text(measured(), width).splitlines())) <= width
    assert as_text(measured(), 200).splitlines()[0].count("J/J*") == 1
    assert "[" in as_text(measured(), 60)
    assert as_text(measured(), 20).splitlines()[0].split() == ["agent", "runs", "J/J*"]
    assert as_text(measured(), 200).splitlines()[-1] == "In results.csv also: entropy (nats)."


def test_runs_that_all_beat_the_others_have_no_interval():
    (found,) = comparisons(table(), "score", ["score"])
    assert found.text == "1.000 (in all 4 runs, so no interval)"
    (mixed,) = comparisons(table(score=[1.0, 3.0, 2.5, 3.5]), "score", ["score"])
    assert mixed.text == str(mixed.probability) and "[" in mixed.text
