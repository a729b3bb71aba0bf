"""The examples in the wrappers' docstrings, and those of their pages."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import wrappers
import wrappers.reward_terms
import wrappers.vector
from wrappers.turns import TurnText

DOCS = Path(__file__).parents[2] / "docs"
NAMES = sorted({*wrappers.__all__} - {"vector"})
BASES = ["RewardTermWrapper", "DensityWrapper", "VectorRewardTermWrapper", "VectorDensityWrapper"]
PUBLIC = [getattr(package, name) for package in (wrappers, wrappers.vector) for name in NAMES]
PUBLIC += [getattr(wrappers.reward_terms, name) for name in BASES]
PUBLIC += [TurnText]


@pytest.mark.parametrize("thing", dict.fromkeys(PUBLIC), ids=lambda thing: thing.__name__)
def test_every_wrapper_has_an_example_that_runs(thing: type) -> None:
    module = importlib.import_module(thing.__module__)
    (test,) = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, module)
    assert len(test.examples) > 1
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize(
    "page", ["granularity-and-density.md", "wrappers.md", "write-a-wrapper.md"]
)
def test_the_examples_of_the_page_run(page: str) -> None:
    failed, attempted = doctest.testfile(str(DOCS / page), module_relative=False)
    assert attempted > 10
    assert failed == 0
