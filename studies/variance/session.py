"""The whole study: measure, train, write the files, print the tables."""

from __future__ import annotations

from functools import partial

import pandas as pd

from rlhf_env.files import write_atomically
from studies.reporting.plots import Plot, png
from studies.reporting.style import LIGHT
from studies.results.csv_files import as_csv
from studies.variance.figure import draw
from studies.variance.gradients import measure_gradients
from studies.variance.learning import measure_learning
from studies.variance.settings import Study
from studies.variance.tables import episodes_table, noise_rows, noise_table


def run_study(study: Study, *, progress: bool = True) -> None:
    """Run everything; files that are there are replaced.

    Raises:
        RuntimeError: if a training run fails.
        OSError: if a file cannot be written.
    """
    study.out.mkdir(parents=True, exist_ok=True)
    gradients = measure_gradients(study, progress=progress)
    mean, spread = float(gradients.scores.mean()), float(gradients.scores.std(ddof=1))
    noise = noise_rows(gradients)
    _write(study, "noise.csv", as_csv(noise))
    print(f"\nReference: score {mean:.3f}, standard deviation {spread:.3f}\n")
    print(noise_table(noise), flush=True)
    episodes = measure_learning(study, mean + spread, progress=progress)
    _write(study, "episodes.csv", as_csv(episodes))
    _write(study, "variance.png", as_png(noise, episodes, study))
    print(f"\n{episodes_table(episodes)}")


def as_png(noise: pd.DataFrame, episodes: pd.DataFrame, study: Study) -> bytes:
    """Return the figure as the content of a PNG file."""
    limit = study.updates * study.episodes
    drawn = partial(draw, noise, episodes, limit)
    plot = Plot(name="variance", title="", caption="", draw=lambda stacked: drawn())
    return png(plot, LIGHT)


def _write(study: Study, name: str, content: bytes) -> None:
    write_atomically(study.out / name, content)
