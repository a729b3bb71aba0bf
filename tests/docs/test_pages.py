"""The pages name tests and files that exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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
        r"`((?:rlhf_env|agents|wrappers|studies|scripts|benchmarks|examples|tests)/[\w/]+\.py)"
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


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    missing = [
        f"{path}#{anchor}"
        for path, anchor in links
        if anchor not in anchors((page.parent / path) if path else page)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_elsewhere_have_the_form_of_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((https?:[^)\s]*)\)", text)
    assert [link for link in links if not re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", link)] == []


def test_the_navigation_of_the_site_lists_pages_that_exist() -> None:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    listed = [page for pages in module.NAVIGATION.values() for page in pages]
    assert len(set(listed)) == len(listed)
    api = {f"docs/api/{name}" for name in module.API}
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES}
    # A page that is in none of the lists comes under "More".
    assert set(listed) - api <= pages | {"CHANGELOG"}
    assert len(set(listed) - api) > 40


def test_the_commands_for_assistants_run(tmp_path: Path) -> None:
    text = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (python scripts/.*)$", text, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = command.replace("runs/", f"{tmp_path}/").split()
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "assistant-against-reference" / "comparison.json").is_file()
