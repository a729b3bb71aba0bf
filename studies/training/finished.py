"""Training runs that are finished already."""

from __future__ import annotations

from rich.console import Console

from studies.reporting.console import evaluation_table
from studies.results.run_folder import read_finished
from studies.training.settings import Settings


def show_finished(settings: Settings, console: Console) -> bool:
    """Print the results of a run that needs no more training; return False if there is none."""
    finished = read_finished(settings.out, settings.learning.episodes)
    if finished is None:
        return False
    stages = {stage: finished[stage] for stage in ("before", "after") if stage in finished}
    console.print(f"finished already, results in {settings.out}:", markup=False)
    console.print(evaluation_table(stages))
    return True
