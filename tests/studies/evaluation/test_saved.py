from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.evaluation.saved import _agent


@pytest.mark.parametrize("name", ["math", "credit", "train", "Rollout", "nothing"])
def test_what_is_not_an_agent_class_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    """The package `agents` also names modules and functions."""
    (tmp_path / "state.json").write_text(json.dumps({"agent": name}))
    with pytest.raises(ValueError, match=f"must hold an agent of this project.*'{name}' wrote"):
        _agent(tmp_path)
