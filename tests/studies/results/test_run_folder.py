from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.results.folder import TRAIN
from studies.results.json_values import finite_or_null
from studies.results.run_folder import check_folder, claim

SAVED = {"episodes": 64, "samples": 4, "density": "terminal", "every_k": 8}


def test_a_default_that_had_no_effect_does_not_close_a_folder(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(SAVED))
    check_folder(tmp_path, SAVED | {"every_k": 1}, TRAIN)


def test_one_that_had_an_effect_does(tmp_path: Path) -> None:
    saved = SAVED | {"density": "every_k"}
    (tmp_path / "settings.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="every_k is 8 there and 1 here"):
        check_folder(tmp_path, saved | {"every_k": 1}, TRAIN)


def test_numbers_that_json_lacks_become_null() -> None:
    found = finite_or_null({"a": float("nan"), "b": [float("inf"), 1.5, "x"], "c": (True, None)})
    assert found == {"a": None, "b": [None, 1.5, "x"], "c": [True, None]}


def test_a_claimed_folder_is_cleared_of_what_killed_processes_left(tmp_path: Path) -> None:
    left = tmp_path / ".settings.json.0123456789abcdef.partial"
    left.write_text("half")
    with claim(tmp_path, SAVED):
        assert not left.exists()
    assert (tmp_path / "settings.json").exists()
