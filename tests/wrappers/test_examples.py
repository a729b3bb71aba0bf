"""The examples in the wrappers' docstrings, and those of their page."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import wrappers
import wrappers.vector

PAGE = Path(__file__).parents[2] / "docs" / "granularity-and-density.md"


@pytest.mark.parametrize("name", wrappers.__all__)
def test_every_wrapper_has_an_example_that_runs(name: str) -> None:
    module = importlib.import_module(getattr(wrappers, name).__module__)
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0


def test_the_examples_of_the_page_run() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 10
    assert failed == 0
