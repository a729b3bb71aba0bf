"""The index of the zoo: a table of verdicts, a picture, and what might explain the failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from studies.zoo.findings import Finding
from studies.zoo.numbers import shown_estimate
from studies.zoo.verdict import HELD, VERDICTS

_HEAD = """\
# A zoo of claims

Published results on discount, density, granularity, critics and credit contradict each other, and
few were measured twice. Here each is one short file: the claim, the authors' figure, a setting that
fits two cores, the contrast that decides, and the rule for the verdict, written before the runs.
`docs/zoo.md` says how to read a verdict, and how to add a claim.

    python scripts/zoo.py list
    python scripts/zoo.py run all

A miniature decides about a direction where the mechanism is present, not about a benchmark. *Held*:
the interval of the deciding contrast is on the claim's side, and the estimate as large as was asked
for. *Weaker*: on its side, but smaller. *Reversed*: on the other side. *Undecided*: the interval
leaves it open. A claim of several contrasts has the worst of their verdicts."""
# Of themes that are not written as they are called.
_TITLES = {"dapo": "DAPO", "off policy": "Off-policy learning and choice of prompts"}
_FOOT = """\
Estimates are interquartile means over seeds of differences seed by seed, with 95 % bootstrap
intervals."""


def index(findings: Sequence[Finding], folder: str) -> str:
    """Return the page as Markdown.

    Args:
        findings: of the claims that have all their rows, by theme.
        folder: of their pages, relative to this one.
    """
    return "\n".join(_lines(findings, folder)) + "\n"


def _lines(findings: Sequence[Finding], folder: str) -> Iterator[str]:
    counts = Counter(one.verdict for one in findings)
    truths = sum(bool(one.claim.truth) for one in findings)
    yield _HEAD
    yield ""
    counted = ", ".join(f"{counts[name]} {name}" for name in VERDICTS)
    yield (
        f"**{len(findings)} claims: {counted}.** In {truths} a deciding contrast is of the truth: "
        "exact regret, exact gradients or exact optima. Those have a ✓."
    )
    yield ""
    yield f"![The deciding contrast of every claim]({folder}/zoo.png)"
    theme = None
    for one in findings:
        if one.entry.theme != theme:
            theme = one.entry.theme
            yield from ("", f"## {_TITLES.get(theme, theme.capitalize())}", "")
            yield "| claim | verdict | truth | what decides | estimate | source |"
            yield "| --- | --- | --- | --- | --- | --- |"
        yield _row(one, folder)
    yield ""
    yield "## Where a claim did not come out as stated"
    yield ""
    others = [one for one in findings if one.verdict != HELD]
    if not others:
        yield "None so far."
    for one in others:
        why = f" *Guess:* {one.claim.guess}" if one.claim.guess else ""
        yield f"- [{one.claim.title}]({folder}/{one.entry.name}.md): **{one.verdict}**.{why}"
    yield ""
    yield _FOOT


def _row(one: Finding, folder: str) -> str:
    verdict = one.verdict if one.verdict == HELD else f"**{one.verdict}**"
    cells = (
        f"[{one.claim.title}]({folder}/{one.entry.name}.md)",
        verdict,
        "✓" if one.claim.truth else "",
        one.deciding.contrast.says,
        shown_estimate(one.deciding.estimate),
        one.claim.citation,
    )
    return f"| {' | '.join(cells)} |"
