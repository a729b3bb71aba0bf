"""The pages name tests and files that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED_TEST = re.compile(r"`([\w/]+\.py)::([\w:]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)[^)]*\)|<(?:img|a)[^>]*(?:src|href)=\"([^\"#]+)")


def defined_names(path: Path) -> set[str]:
    """Functions of a file, and "Class::method" of its classes."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            names |= {f"{node.name}::{method.name}" for method in methods}
    return names


@pytest.mark.parametrize("page", ["traps.md", "hostile-cases.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = NAMED_TEST.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert len(named) > 50
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (TESTS / path).is_file() or name not in defined_names(TESTS / path)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("traps.md", 157),
        # Cases 22 to 94 and 106 to 112.
        ("hostile-cases.md", 80),
    ],
)
def test_no_row_is_left_out(page: str, expected: int) -> None:
    rows = re.findall(
        r"^\| ([A-K]?)(\d+)(?: – [A-K]?(\d+))? \|",
        (ROOT / "docs" / page).read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    numbers = [
        (letter, number)
        for letter, first, last in rows
        for number in range(int(first), int(last or first) + 1)
    ]
    assert len(set(numbers)) == len(numbers) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = [a or b for a, b in LINK.findall(page.read_text(encoding="utf-8"))]
    relative = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in relative if not (page.parent / link).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    docs = set((ROOT / "docs").rglob("*.md"))
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        links = [a or b for a, b in LINK.findall(page.read_text(encoding="utf-8"))]
        targets = {(page.parent / link).resolve() for link in links if link.endswith(".md")}
        waiting += list((targets & docs) - reached)
        reached |= targets
    assert sorted(path.name for path in docs - reached) == []


def test_every_file_that_a_page_names_exists() -> None:
    """The two lists of tests name theirs from the folder of the tests; see above."""
    named = re.compile(
        r"`((?:rlhf_env|agents|wrappers|studies|scripts|benchmarks|tests)/[\w/]+\.py)"
    )
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    missing = [
        f"{page.name}: {path}"
        for page in pages
        if page.name not in ("traps.md", "hostile-cases.md")
        for path in named.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / path).is_file()
    ]
    assert missing == []
