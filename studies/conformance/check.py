"""The work of `scripts/check.py`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlhf_env import testing
from rlhf_env.testing import INPUTS, Result
from studies.conformance.kind import kind_of, named_thing
from studies.conformance.settings import Check

_COLORS = {"pass": "green", "fail": "red", "skip": "dim"}


def run(settings: Check) -> int:
    """Check, print a table, and return 1 if a check failed.

    Raises:
        ValueError: if there is no such thing, its kind cannot be told, or an option does not fit.
    """
    console = Console(highlight=False)
    if settings.shows_list or settings.thing is None:
        _print_list(console, settings.kind)
        return 0
    thing = named_thing(settings.thing, settings.kind)
    kind = settings.kind or kind_of(thing)
    results = testing.results(kind, thing, skip=settings.skip, **_options(settings, kind))
    console.print(_table(f"{settings.thing}, a {kind}", results))
    failed = sum(result.status == "fail" for result in results)
    passed = sum(result.status == "pass" for result in results)
    console.print(f"{passed} hold, {failed} do not, {len(results) - passed - failed} do not apply")
    return 1 if failed else 0


def _options(settings: Check, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if settings.task is not None:
        if kind not in ("reward", "wrapper", "agent"):
            raise ValueError(f"--task is for rewards, wrappers and agents, got a {kind}")
        options["task"] = settings.task
    if settings.form is not None or settings.names:
        if kind not in INPUTS:
            raise ValueError(f"--form and --names are for functions of tensors, got a {kind}")
        pairs = (pair.split("=", 1) for pair in settings.names)
        options |= {
            "form": settings.form,
            "names": {ours: theirs or None for ours, theirs in pairs},
        }
    return options


def _table(title: str, results: list[Result]) -> Table:
    table = Table(title=escape(title), title_justify="left", show_lines=False)
    for column in ("check", "", "seen", "source"):
        table.add_column(column, overflow="fold")
    for result in results:
        color = _COLORS[result.status]
        seen = result.seen if result.status != "fail" else f"{result.check.claim} {result.seen}"
        table.add_row(
            result.check.name,
            f"[{color}]{result.status}[/{color}]",
            escape(seen),
            escape(result.check.source),
        )
    return table


def _print_list(console: Console, only: str | None) -> None:
    for kind in [only] if only else testing.kinds():
        table = Table(title=kind, title_justify="left")
        for column in ("check", "claim", "source"):
            table.add_column(column, overflow="fold")
        for check in testing.checks(kind):
            table.add_row(check.name, escape(check.claim), escape(check.source))
        console.print(table)
