"""The examples of docs/evaluate-a-reward.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[4] / "docs" / "evaluate-a-reward.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_examples_do_what_they_say() -> None:
    assert len(EXAMPLES) == 2
    names: dict[str, Any] = {"__name__": __name__}
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"example {number}", "exec"), names)
    # The short answer is the preferred one of every pair.
    assert names["figures"]["brevity"].accuracy.value == 1.0
    assert names["figures"]["brevity"].longer_wins.value == 0.0
    # What a response scores does not depend on those around it.
    task = names["task"]
    prompt = task.decode(task.prompts[0])
    texts = [task.decode(torch.tensor(ids)) for ids in ([20, 21], [22, 23, 24, 25])]
    together = names["scores"]([prompt] * 2, texts)
    assert names["scores"]([prompt], texts[1:])[0] == pytest.approx(together[1], abs=1e-5)
