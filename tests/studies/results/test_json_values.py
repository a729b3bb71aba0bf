"""JSON has no numbers that are not finite; everything else stays as it is."""

from __future__ import annotations

import math

from studies.results.json_values import as_json


def test_finite_values_stay_as_they_are() -> None:
    assert as_json({"é": [1, 2.5, None, "x"]}) == '{"é": [1, 2.5, null, "x"]}'


def test_numbers_that_are_not_finite_are_null() -> None:
    assert (
        as_json({"a": [1.5, math.nan], "b": (-math.inf, 2)}) == '{"a": [1.5, null], "b": [null, 2]}'
    )
