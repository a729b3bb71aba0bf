"""DPO on people's comparisons with a pretrained language model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents import DPO
from rlhf_env.rewards import PreferenceData, read_preferences
from rlhf_env.task import Task
from tests.agents.episodes import make_envs

SHARED = Path(__file__).parents[3].parent / "shared/data"
PAIRS, UPDATES = 64, 20
LONGEST_PROMPT, LONGEST_RESPONSE = 128, 96
# Repeated rows and empty responses are counted, and said; many dialogs are longer than the model.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not here"),
    pytest.mark.filterwarnings("ignore:.* of .* rows:UserWarning"),
]


def no_reward(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.zeros(len(responses))


def real_task() -> Task:
    folder = SHARED / "stories260k"
    return Task(
        name="hh_rlhf",
        tokenizer=AutoTokenizer.from_pretrained(folder),
        reference=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        reward=no_reward,
        prompts=["Once upon a time"],
        max_prompt_tokens=LONGEST_PROMPT,
        max_new_tokens=LONGEST_RESPONSE,
        kl_coef=0.1,
    )


def short_pairs(task: Task) -> PreferenceData:
    """Return the first comparisons that fit the task."""

    def size(text: str) -> int:
        return len(task.tokenizer(text, verbose=False)["input_ids"])  # type: ignore[arg-type]

    data = read_preferences(SHARED / "hh_rlhf/train.jsonl.gz")
    fitting = [
        pair
        for pair in data.pairs[:1000]
        if size(str(pair.prompt)) <= LONGEST_PROMPT
        and max(map(size, pair.responses)) < LONGEST_RESPONSE
        and not pair.is_identical
    ]
    return dataclasses.replace(data, records=tuple(fitting[:PAIRS]))


def test_twenty_updates_predict_what_they_were_shown() -> None:
    task = real_task()
    pairs = short_pairs(task)
    assert len(pairs) == PAIRS
    agent = DPO(
        make_envs(task, 2),
        preferences=pairs,
        episodes_per_update=2 * PAIRS,
        learning_rate=0.003,
    )
    history = agent.learn(2 * PAIRS * UPDATES, progress=False)
    assert len(history) == UPDATES
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert history[0]["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert agent.preference_figures(pairs)["accuracy"] > 0.9
