from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scripts.reporting.drawings import Tables, draw_curves, draw_frontier, draw_gold, draw_heatmap
from scripts.reporting.plots import plots, png
from scripts.reporting.style import DARK, LIGHT, themed
from scripts.reporting.tables import as_text, cells, comparisons, headline, varied_axes


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


def test_a_curve_is_the_interquartile_mean_of_its_runs():
    with themed(LIGHT):
        figure = draw_curves(tables(), "score")
    lines = figure.axes[0].get_lines()
    np.testing.assert_allclose(np.asarray(lines[0].get_ydata()), [1.5, 3.0, 4.5])
    np.testing.assert_allclose(np.asarray(lines[1].get_ydata()), [4.0, 8.0, 12.0])
    (names,) = figure.legends
    assert [text.get_text() for text in names.get_texts()] == ["ppo", "grpo"]
    assert figure.axes[0].get_xlabel() == "update"
    assert figure.axes[0].get_ylabel() == "score (proxy reward)"


def test_lines_of_one_agent_differ_in_shade_width_and_dashes_as_the_legend_shows():
    with themed(LIGHT):
        same = {name: [np.nan] * 4 for name in ("gae_lambda", "group_size")}
        figure = draw_curves(tables(agent=["ppo"] * 4, gamma=[0.9, 0.9, 1.0, 1.0], **same), "score")
    (names,) = figure.legends
    assert [text.get_text() for text in names.get_texts()] == ["ppo γ 0.9", "ppo γ 1"]
    drawn, sampled = figure.axes[0].get_lines(), names.get_lines()
    for line, sample in zip(drawn, sampled, strict=True):
        assert line.get_color() == sample.get_color()
        assert line.get_linestyle() == sample.get_linestyle()
    # Where both are equal, the pale one has to show on either side of the other.
    assert [line.get_color() for line in drawn] == ["#80b8d8", "#0072b2"]
    assert [line.get_linewidth() for line in drawn] == [3.4, 1.6]
    assert [line.get_linestyle() for line in drawn] == ["-", "--"]


@pytest.mark.parametrize("draw", [draw_curves, draw_heatmap])
def test_stacked_panels_are_one_narrow_column(draw):
    many = tables(density=["terminal", "every_k"] * 2, granularity=["token"] * 2 + ["bandit"] * 2)
    with themed(LIGHT):
        wide, narrow = draw(many, "score"), draw(many, "score", stacked=True)
    assert narrow.get_figwidth() == 3.7 < wide.get_figwidth()
    columns = {place.get_subplotspec().colspan.start for place in narrow.axes[:4]}
    assert columns == {0}


def test_gold_is_drawn_over_the_root_of_the_kl():
    with themed(LIGHT):
        figure = draw_gold(tables())
    proxy, gold = figure.axes[0].get_lines()[:2]
    np.testing.assert_allclose(
        np.asarray(gold.get_xdata()), [0.316228, 0.447214, 0.547723], rtol=1e-5
    )
    np.testing.assert_allclose(np.asarray(gold.get_ydata()), [2.0, 1.0, 0.0])
    np.testing.assert_allclose(np.asarray(proxy.get_ydata()), [1.5, 3.0, 4.5])


def test_the_heat_map_pools_what_it_does_not_show():
    with themed(LIGHT):
        figure = draw_heatmap(tables(kl_coef=[0.1, 0.2, 0.1, 0.2]), "score")
    assert [axes.texts[0].get_text() for axes in figure.axes[:2]] == ["1.500", "3.000"]


def test_the_heat_map_has_a_scale_that_does_not_exaggerate():
    with themed(LIGHT):
        figure = draw_heatmap(tables(score=[0.99, 0.99, 1.0, 1.0]), "score")
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "score (proxy reward)"
    np.testing.assert_allclose(bar.get_ylim(), [0.9, 1.0])


def test_the_frontier_shows_every_run_and_every_setting():
    with themed(LIGHT):
        figure = draw_frontier(tables())
    drawn = figure.axes[0].get_lines()
    np.testing.assert_allclose(np.asarray(drawn[0].get_ydata()), [1.0, 2.0])
    np.testing.assert_allclose(np.asarray(drawn[1].get_ydata()), [1.5])
    np.testing.assert_allclose(np.asarray(drawn[-1].get_ydata()), [0.0, 4.0])


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_figures_are_png_files_in_both_looks(theme, tmp_path: Path):
    found = plots(tables())
    names = ["curves-score", "heatmap", "frontier", "gold", "curves-regret", "curves-kl"]
    # Gold was measured along the curves only, so the proxy stays what runs are compared by.
    assert [plot.name for plot in found] == names
    with Image.open(io.BytesIO(png(found[1], theme))) as image:
        corner = image.convert("RGB").getpixel((0, 0))
    assert corner == ((255, 255, 255) if theme is LIGHT else (23, 27, 33))


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


def test_comparisons_are_between_matched_settings():
    (found,) = comparisons(table(), "score")
    assert (found.axis, found.value, found.baseline) == ("agent", "grpo", "ppo")
    assert found.probability.value == 1.0


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
