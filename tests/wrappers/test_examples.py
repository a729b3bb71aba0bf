"""The examples in the wrappers' docstrings, and those of their pages."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import wrappers
import wrappers.vector

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", sorted({*wrappers.__all__} - {"vector"}))
def test_every_wrapper_has_an_example_that_runs(name: str) -> None:
    module = importlib.import_module(getattr(wrappers, name).__module__)
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0


@pytest.mark.parametrize("page", ["granularity-and-density.md", "wrappers.md"])
def test_the_examples_of_the_page_run(page: str) -> None:
    failed, attempted = doctest.testfile(str(DOCS / page), module_relative=False)
    assert attempted > 10
    assert failed == 0
