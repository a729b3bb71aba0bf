"""The examples of docs/agents.md run as they stand, and its table leaves no agent out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import agents
from agents import Agent

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    for example in EXAMPLES:
        names: dict[str, Any] = {}
        exec(compile(example, "agents.md", "exec"), names)
    score, exact = capsys.readouterr().out.splitlines()
    assert float(score) > 0.039595
    assert exact == "1.710 at a KL of 1.720, at most 1.835"


def test_every_agent_has_a_row() -> None:
    kinds = (getattr(agents, name) for name in agents.__all__)
    trained = {k.__name__ for k in kinds if isinstance(k, type) and issubclass(k, Agent)}
    rows = set(re.findall(r"^\| `(\w+)[`(]", PAGE, flags=re.MULTILINE))
    assert trained - {"Agent"} <= rows
