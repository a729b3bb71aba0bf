"""Two saved agents on the same prompts with the same random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents import Agent
from rlhf_env.files import write_atomically
from rlhf_env.mdp.render import printable
from rlhf_env.statistics import Estimate, Floats
from studies.evaluation.evaluation import means
from studies.evaluation.folder import COMPARISON, PAGE, write_json
from studies.evaluation.intervals import mean, win_rate
from studies.evaluation.length_control import length_controlled_win_rate
from studies.evaluation.page import as_html
from studies.evaluation.responses import reference_policy, respond
from studies.evaluation.settings import Compare
from studies.evaluation.verdicts import by_judge, by_people, by_score, check_judge
from studies.reporting.console import MEASURES, cut
from studies.results.run_folder import write_samples

# What depends only on the response; a return depends on an agent's own KL coefficient.
COMPARED = ("score", "gold", "kl", "response_length", "eos_rate", "entropy")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The metrics of two agents, side by side."""

    judge: str
    """Who decides wins: "gold", "score", "people" or the name of a judge."""
    wins: Estimate
    """How often the first agent's response is better, ties counting half."""
    controlled: Estimate
    """The same at equal length, by `length_controlled_win_rate`."""
    first: dict[str, Estimate]
    """Measure -> mean over the first agent's responses."""
    second: dict[str, Estimate]
    """The same of the second."""
    differences: dict[str, Estimate]
    """Measure -> mean of the first's less the second's on the same prompt."""
    pairs: list[tuple[dict[str, Any], dict[str, Any]]]
    """Both agents' responses to each prompt, as the rows of ``samples.jsonl``."""


def compare(
    first: Agent,
    second: Agent | None,
    episodes: int,
    seed: int,
    *,
    by: str = "auto",
    labels: Path | None = None,
) -> Comparison:
    """Let both agents answer with the same random numbers, and judge them pair by pair.

    Args:
        first: an agent.
        second: its opponent; the first's reference when None.
        episodes: responses of each.
        seed: of the responses.
        by: who decides wins: "gold", "score", "auto" (gold where there is one), "people", or
            ``module:name`` of a judge.
        labels: the file of people's labels.

    Raises:
        ValueError: if the judge cannot be used.
        studies.feedback_rounds.labels.LabelsMissing: if people have not labeled all pairs yet.
    """
    check_judge(by, first.base.task)
    ours = respond(first, first.policy, "first", episodes, seed)
    opponent = reference_policy(first) if second is None else second.policy
    theirs = respond(second or first, opponent, "second", episodes, seed)
    names = [name for name in COMPARED if name in ours.metrics]
    a, b = ours.metrics.filter(names), theirs.metrics.filter(names)
    judge = by if by != "auto" else "gold" if "gold" in names else "score"
    task, rollouts = first.base.task, (ours.rollout, theirs.rollout)
    if judge in ("gold", "score"):
        wins = by_score(a[judge].to_numpy(float), b[judge].to_numpy(float))
    elif judge == "people":
        assert labels is not None, "people's labels are in a file"
        wins = by_people(labels, task, *rollouts, seed)
    else:
        wins = by_judge(judge, task, *rollouts)
    lengths = a["response_length"] - b["response_length"]
    return Comparison(
        judge=judge,
        wins=win_rate(wins, 1.0 - wins) if _are_votes(wins) else mean(wins),
        controlled=length_controlled_win_rate(wins, lengths),
        first=means(a),
        second=means(b),
        differences=paired(a, b),
        pairs=list(zip(ours.records, theirs.records, strict=True)),
    )


def _are_votes(wins: Floats) -> bool:
    """Return whether all are wins, losses or ties, of which Wilson's interval knows."""
    return bool(np.isin(wins, (0.0, 0.5, 1.0)).all())


def paired(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Estimate]:
    """Return the mean difference of each column, whose interval is of the differences."""
    return means(first - second)


def rows(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """Return measure, first, second and difference as displayed."""
    return [
        (
            MEASURES[name],
            str(comparison.first[name]),
            str(comparison.second[name]),
            str(comparison.differences[name]),
        )
        for name in comparison.differences
    ]


def verdict(comparison: Comparison) -> str:
    """Return how often the first agent wins, as a sentence."""
    known = {"gold": "the gold score", "score": "the score"}
    judge = known.get(comparison.judge, comparison.judge)
    return (
        f"The first wins {comparison.wins} of {comparison.wins.count} pairs by {judge}, ties "
        f"counting half; at equal length {comparison.controlled}."
    )


def show(comparison: Comparison, samples: int, console: Console) -> None:
    """Print the verdict, the table, and responses to the same prompts side by side."""
    table = Table("measure", box=None, pad_edge=False)
    for name in ("first", "second", "first − second"):
        table.add_column(name, justify="right")
    for measure, *numbers in rows(comparison):
        # The interval below its mean, so that a narrow terminal has room for both.
        table.add_row(measure, *(number.replace(" [", "\n[") for number in numbers))
    console.print(verdict(comparison), markup=False)
    console.print(table)
    console.print("In brackets: 95 % intervals over responses.")
    for pair in comparison.pairs[:samples]:
        prompt = cut(printable(pair[0]["prompt"])) or "(empty prompt)"
        console.print(Text(f"\n> {prompt}", style="bold"))
        sides = Table(box=None, pad_edge=False, show_header=False, expand=True)
        sides.add_column(ratio=1)
        sides.add_column(ratio=1)
        sides.add_row(*map(_side, pair))
        console.print(sides)


def write(comparison: Comparison, settings: Compare, task: str, out: Path) -> None:
    """Write ``comparison.json``, ``samples.jsonl`` and ``comparison.html``, replacing old ones.

    Raises:
        OSError: if they cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_samples(out, [record for pair in comparison.pairs for record in pair])
    names = {"first": str(settings.first), "second": str(settings.second), "task": task}
    fields = {
        "agents": names,
        "episodes": settings.question.episodes,
        "seed": settings.question.seed,
        "judge": comparison.judge,
        "wins": comparison.wins,
        "wins_at_equal_length": comparison.controlled,
        "first": comparison.first,
        "second": comparison.second,
        "differences": comparison.differences,
    }
    write_json(out / COMPARISON, fields)
    page = as_html(names, verdict(comparison), rows(comparison), comparison.pairs)
    write_atomically(out / PAGE, page.encode(errors="xmlcharrefreplace"))


def _side(record: dict[str, Any]) -> Text:
    gold = f", gold {record['gold']:+.2f}" if "gold" in record else ""
    head = f"{record['stage']} (score {record['score']:+.2f}{gold}): "
    end = "" if record["finish_reason"] == "eos" else " …"
    return Text.assemble((head, "dim"), cut(printable(record["response"])) + end)
