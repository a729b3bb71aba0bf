"""Committed pages are those of the committed tables, and numbers are shown as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_env.statistics import Estimate
from studies.zoo.findings import Finding
from studies.zoo.index import index
from studies.zoo.numbers import shown, shown_estimate
from studies.zoo.page import page
from studies.zoo.session import read_findings

ROOT = Path(__file__).parents[3]
OUT = ROOT / "docs" / "results" / "zoo"


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return read_findings(OUT)


def test_every_table_is_whole_and_has_a_page(findings: list[Finding]) -> None:
    tables = {path.stem for path in OUT.glob("*.csv")} - {"costs"}
    assert tables == {one.entry.name for one in findings}
    assert {path.stem for path in OUT.glob("*.md")} == tables


def test_the_pages_are_those_of_the_tables(findings: list[Finding]) -> None:
    for one in findings:
        written = (OUT / f"{one.entry.name}.md").read_text(encoding="utf-8")
        assert written == page(one, "../zoo.md")


def test_the_index_is_that_of_the_tables(findings: list[Finding]) -> None:
    assert (OUT.parent / "zoo.md").read_text(encoding="utf-8") == index(findings, "zoo")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.81249, "0.812"),
        (-0.0123, "-0.0123"),
        (0.00123, "0.0012"),
        (1.5e-7, "1.50e-07"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (250000.0, "2.50e+05"),
        (float("nan"), "none"),
        # A tie stays one, whatever the order of a sum left in the last digits.
        (0.8125 + 1e-16, "0.812"),
        (0.8125 - 1e-16, "0.812"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert shown(value) == text


def test_an_estimate_has_its_interval() -> None:
    assert shown_estimate(Estimate(value=1.0, low=0.5, high=2.0)) == "1.00 [0.500, 2.00]"
    assert shown_estimate(Estimate(value=1.0, low=None, high=None)) == "1.00"
    assert shown_estimate(None) == "none"
