"""Short spans, so that a wave of small texts has several."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents.rollouts.waves import decoding, repeating


@pytest.fixture
def short_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And warnings are not those of another test."""
    monkeypatch.setattr(decoding, "_SPAN_STEP", 16)
    monkeypatch.setattr(repeating, "_FEWEST", 8)
    repeating._warn.cache_clear()
    yield
    repeating._warn.cache_clear()
