from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scripts.reporting.drawings import Tables, draw_curves, draw_frontier, draw_gold, draw_heatmap
from scripts.reporting.plots import plots, png
from scripts.reporting.style import DARK, LIGHT, spread, themed
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
    assert [text.get_text() for text in figure.axes[0].texts] == ["ppo", "grpo"]
    assert figure.axes[0].get_xlabel() == "update"
    assert figure.axes[0].get_ylabel() == "score (proxy reward)"


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
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["1.500", "3.000"]


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


def test_labels_are_moved_apart_and_stay_inside():
    np.testing.assert_allclose(spread([0.5, 0.5], 0.1), [0.45, 0.55])
    np.testing.assert_allclose(spread([0.2, 0.8], 0.1), [0.2, 0.8])
    np.testing.assert_allclose(spread([1.0, 1.0, 1.0], 0.1), [0.8, 0.9, 1.0])
    np.testing.assert_allclose(spread([0.0, 0.02, 0.3], 0.1), [0.0, 0.1, 0.3])
    assert spread([], 0.1) == []


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
