"""The examples of docs/reward-mitigations.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.rlhf_env.toy_judge import WORDS, judge_tokenizer
from tests.toys import tiny_llama

PAGE = Path(__file__).parents[3] / "docs" / "reward-mitigations.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples leave behind, run one after the other next to a model "judge"."""
    folder = tmp_path_factory.mktemp("page")
    judge_tokenizer().save_pretrained(folder / "judge")
    tiny_llama(len(WORDS)).save_pretrained(folder / "judge")
    spaces: dict[str, Any] = {"__name__": __name__}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, example in enumerate(EXAMPLES):
            exec(compile(example, f"example {number}", "exec"), spaces)
    return spaces


def test_every_section_has_an_example() -> None:
    assert len(EXAMPLES) == 8


def test_the_examples_do_what_they_say(names: dict[str, Any]) -> None:
    prompts, good, strange = names["prompts"], names["good"], names["strange"]
    assert (names["distance"].excess(prompts, strange) > 1.0).all()
    lost = names["task"].reward.reward(prompts, strange) - names["task"].reward(prompts, strange)
    assert (lost > 0.5).all()
    rated = names["judged"].reward(prompts, good)
    assert ((rated > 0.0) & (rated < 1.0)).all()
    assert names["model"].counts["asked"] >= 6
    assert names["env"].unwrapped.kl_coef == 0.1
    assert torch.isfinite(names["cautious"].disagreement(prompts, good)).all()
