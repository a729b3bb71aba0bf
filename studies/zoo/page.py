"""The page of one claim, from its rows as they were written."""

from __future__ import annotations

from collections.abc import Iterator

from studies.zoo.findings import Finding
from studies.zoo.numbers import shown_estimate


def page(found: Finding, index: str) -> str:
    """Return the page as Markdown.

    Args:
        found: of a claim with all its rows.
        index: the page of all claims, relative to this one.
    """
    return "\n".join(_lines(found, index)) + "\n"


def _lines(found: Finding, index: str) -> Iterator[str]:
    claim, name = found.claim, found.entry.name
    yield f"# {claim.title}"
    yield ""
    yield f"**Verdict: {found.verdict}.** {claim.says}"
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    yield f"| source | {claim.citation} |"
    yield f"| authors' figure | {claim.reported} |"
    yield f"| here | {claim.setting} |"
    yield f"| truth | {_truth(found)} |"
    yield f"| runs | {_runs(found)} |"
    yield ""
    yield f"    python scripts/zoo.py run {name}"
    yield ""
    yield "## What decides"
    yield ""
    yield "| contrast | rule, fixed before the runs | estimate | verdict |"
    yield "| --- | --- | --- | --- |"
    for one in found.found:
        yield (
            f"| {one.contrast.says} | {one.contrast.rule} | {shown_estimate(one.estimate)} | "
            f"{one.verdict} |"
        )
    yield ""
    yield (
        "Differences are taken seed by seed. Interquartile means over seeds, in brackets their "
        "95 % bootstrap intervals."
    )
    yield ""
    yield "## Arms"
    yield ""
    measured = claim.experiment.measured
    yield f"| arm | {' | '.join(measured)} |"
    yield f"| --- |{' --- |' * len(measured)}"
    for arm in claim.experiment.names:
        cells = [shown_estimate(found.arm(arm, measure)) for measure in measured]
        yield f"| {arm} | {' | '.join(cells)} |"
    yield ""
    if claim.guess:
        yield "## What might explain it (a guess)"
        yield ""
        yield claim.guess
        yield ""
    yield f"All rows: [{name}.csv]({name}.csv). [All claims]({index})."


def _truth(found: Finding) -> str:
    return found.claim.truth or "none: figures of sampled responses decide"


def _runs(found: Finding) -> str:
    experiment = found.claim.experiment
    runs = f"{len(experiment.names)} arms, {experiment.seeds} seeds"
    return runs if found.seconds is None else f"{runs}; {found.seconds:.0f} seconds as measured"
