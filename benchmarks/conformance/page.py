"""The table of what the checks find in other libraries, as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_env.testing import Result

HEAD = """# Conformance of other libraries' functions

What the checks of [`rlhf_env.testing`](../conformance.md) find in functions of other libraries,
called as they are installed. This page is the output of

    python -m benchmarks.conformance

A claim that does not hold is **not by itself a bug**. Many are design choices that the rest of a
library takes care of: a loss that is told nothing of the whole batch is the mean of its
micro-batch, a trainer may fill its padding with finite numbers only, keep ratios small, or hand
over logits in float32. The tables say what a function does alone, on the smallest input that shows
it. Each check names its source: `rlhf-env check --list`.
"""


def page(tables: Mapping[str, Mapping[str, list[Result]]], versions: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        tables: package -> function -> results.
        versions: of the packages.
    """
    lines = [HEAD, f"Versions: {', '.join(f'{k} {v}' for k, v in versions.items())}.", ""]
    for package, functions in tables.items():
        lines += [f"## {package} {versions[package]}", ""]
        lines += [
            "| function | kind | hold | do not hold | do not apply |",
            "|---|---|---|---|---|",
        ]
        for name, results in functions.items():
            counts = [sum(r.status == s for r in results) for s in ("pass", "fail", "skip")]
            lines.append(f"| {name} | {results[0].check.kind} | {' | '.join(map(str, counts))} |")
        failures = [(n, r) for n, rs in functions.items() for r in rs if r.status == "fail"]
        if failures:
            lines += ["", "| function | claim that does not hold | seen |", "|---|---|---|"]
        for name, result in failures:
            claim = f"{result.check.name}: {result.check.claim}"
            lines.append(f"| {name} | {_cell(claim)} | {_cell(result.seen)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return a text that stays in its cell of a table."""
    one_line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return one_line if len(one_line) <= 220 else f"{one_line[:217]}..."
