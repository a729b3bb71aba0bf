"""The further tables of an evaluation: perplexity, a score of one's own, and HHH."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from agents import Agent
from rlhf_env.rollout import Rollout
from studies.evaluation.alignment_tax import perplexities, probe_scores
from studies.evaluation.hhh import hhh
from studies.evaluation.settings import Further

COLUMNS = ("reference", "agent")
# Table -> row -> label; a row of `hhh` is a mapping of its own.
LABELS = {
    "helpful": "helpful: prefers people's choice",
    "harmless": "harmless: prefers people's choice",
    "calibration": "honest: calibration error",
    "truthful": "honest: truthfulness",
}


def measure(
    agent: Agent,
    more: Further,
    probe: Callable[..., Any] | None,
    before: Rollout,
    after: Rollout,
) -> dict[str, Any]:
    """Return what is asked for: "perplexity", "probe", "hhh".

    Args:
        agent: what is evaluated.
        more: the files.
        probe: the score of one's own; None leaves it out.
        before: responses of the reference.
        after: those of the agent.

    Raises:
        ValueError: if a file or the probe cannot be used.
    """
    found: dict[str, Any] = {}
    if more.texts is not None:
        found["perplexity"] = perplexities(agent, more.texts, more.texts_field)
    if probe is not None:
        found["probe"] = probe_scores(probe, agent, before, after)
    if more.hhh is not None:
        found["hhh"] = hhh(agent, more.hhh, more.hhh_by)
    return found


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print what was found as one table; nothing where nothing was asked for."""
    if not found:
        return
    table = Table("", box=None, pad_edge=False)
    for name in (*COLUMNS, "change"):
        table.add_column(name, justify="right")
    for name, change in (("perplexity", "ratio"), ("probe", "change")):
        if name in found:
            row = found[name]
            label = "perplexity (and ratio)" if name == "perplexity" else "score of --probe"
            table.add_row(label, *(_cell(row[column]) for column in (*COLUMNS, change)))
    for name, row in found.get("hhh", {}).items():
        label = LABELS[name]
        if "pairs" in row:
            label += f"\n({row['pairs']} pairs)"
        table.add_row(label, *(_cell(row[column]) for column in COLUMNS), "")
    console.print()
    console.print(table)


def _cell(value: object) -> str:
    # The interval below its number, so that a narrow terminal has room for both.
    return str(value).replace(" [", "\n[")
