"""The evaluation of one saved agent and of its KL reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from agents import Agent
from rlhf_env.statistics import Estimate
from studies.evaluation import further
from studies.evaluation.folder import EVALUATION, write_json
from studies.evaluation.intervals import mean, win_rate
from studies.evaluation.responses import reference_policy, respond
from studies.evaluation.saved import Saved
from studies.evaluation.settings import Further, Question
from studies.reporting.console import MEASURES, print_samples
from studies.results.run_folder import write_samples


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of an agent and of its reference."""

    agent: dict[str, Estimate]
    """Measure -> mean over its responses."""
    reference: dict[str, Estimate]
    """The same of the reference."""
    records: list[dict[str, Any]]
    """The responses, those of the agent first."""
    further: dict[str, Any]
    """What `studies.evaluation.further` measured, by table."""


def evaluate(
    agent: Agent,
    episodes: int,
    seed: int,
    more: Further | None = None,
    probe: Callable[..., Any] | None = None,
) -> Evaluation:
    """Let agent and reference answer with the same random numbers, and judge both.

    Args:
        agent: what is evaluated.
        episodes: responses of each.
        seed: of the responses.
        more: the files of what else is measured.
        probe: the score of ``more``.

    Raises:
        ValueError: if a file or the probe cannot be used.
    """
    ours = respond(agent, agent.policy, "agent", episodes, seed)
    theirs = respond(agent, reference_policy(agent), "reference", episodes, seed)
    judge = "gold" if "gold" in ours.metrics else "score"
    won = win_rate(ours.metrics[judge], theirs.metrics[judge])
    return Evaluation(
        agent=means(ours.metrics) | {"win_rate": won},
        reference=means(theirs.metrics),
        records=[*ours.records, *theirs.records],
        further=further.measure(agent, more or Further(), probe, theirs.rollout, ours.rollout),
    )


def means(metrics: pd.DataFrame) -> dict[str, Estimate]:
    """Return the mean of each column with its interval.

    Columns with non-finite numbers are left out: not every agent knows its KL.
    """
    columns = {str(name): metrics[name].to_numpy(dtype=float) for name in metrics}
    return {name: mean(column) for name, column in columns.items() if np.isfinite(column).all()}


def show(evaluation: Evaluation, samples: int, console: Console) -> None:
    """Print the table, and the first responses of agent and reference."""
    console.print(measures_table({"agent": evaluation.agent, "reference": evaluation.reference}))
    console.print("In brackets: 95 % intervals over responses.")
    count = len(evaluation.records) // 2
    shown = min(samples, count)
    print_samples(console, [evaluation.records[:shown], evaluation.records[count:][:shown]])


def measures_table(columns: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """Return one row per measure that any column has."""
    table = Table("measure", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right")
    for measure, label in MEASURES.items():
        found = [column.get(measure) for column in columns.values()]
        if any(value is not None for value in found):
            table.add_row(label, *("" if value is None else str(value) for value in found))
    return table


def write(evaluation: Evaluation, saved: Saved, task: str, question: Question, out: Path) -> None:
    """Write ``evaluation.json`` and ``samples.jsonl``; existing files are replaced.

    Raises:
        OSError: if they cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_samples(out, evaluation.records)
    fields = {
        "agent": str(saved.folder),
        "checkpoint": str(saved.checkpoint),
        "task": task,
        "episodes": question.episodes,
        "seed": question.seed,
        "figures": evaluation.agent,
        "reference": evaluation.reference,
        **evaluation.further,
    }
    write_json(out / EVALUATION, fields)
