"""Perplexity, a score of one's own, and HHH, on models whose numbers are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import GRPO
from rlhf_env import load_task
from rlhf_env.engine.language_model import LanguageModel
from studies.cli.commands.evaluate import main
from studies.evaluation.alignment_tax import perplexities
from studies.evaluation.hhh import hhh
from studies.evaluation.likelihood import likelihood, perplexity

ROWS = [
    ("helpful-base", "soup taste positive :", "the soup was good .", "well , you know , a monday"),
    ("helpful-online", "steak price positive :", "the price is fair .", "the price is steep ."),
    ("harmless-base", "pizza wait negative :", "the wait was slow .", "the wait was short ."),
]


@pytest.fixture
def comparisons(tmp_path: Path) -> Path:
    names = ("subset", "prompt", "chosen", "rejected")
    path = tmp_path / "hhh.jsonl"
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in ROWS))
    return path


@pytest.fixture(scope="module")
def agent() -> Any:
    envs = gym.make_vec("RLHF-v0", num_envs=8, task="reviews")
    learner = GRPO(envs, learning_rate=3e-3, episodes_per_update=32, group_size=8, seed=0)
    learner.learn(32 * 2, progress=False)
    return learner


def test_likelihood_of_toy15() -> None:
    """The reference's logits are cos(1 + |p| + 2v + 3 Σp), after the start token."""
    task = load_task("toy15")
    model = LanguageModel(task.reference, 3)
    start = int(task.prompts[0][0])
    texts = [torch.tensor([start, 1, 2]), torch.tensor([start, 2])]
    found = likelihood(model, texts, [1, 1])

    def logprob(prefix: tuple[int, ...], token: int) -> float:
        logits = [math.cos(1 + len(prefix) + 2 * v + 3 * sum(prefix)) for v in range(3)]
        return logits[token] - math.log(sum(map(math.exp, logits)))

    expected = [logprob((), 1) + logprob((1,), 2), logprob((), 2)]
    assert found.logprobs == pytest.approx(expected, abs=1e-6)
    assert found.counts.tolist() == [2, 1]
    assert perplexity(found) == pytest.approx(math.exp(-sum(expected) / 3))
    # cos 1, cos 3, cos 5: the likeliest first token is 0; after (1): cos 5, cos 7, cos 9.
    assert found.is_right.tolist() == [0, 0, 0]
    assert found.confidence[0] == pytest.approx(math.exp(logprob((), 0)))
    assert likelihood(model, texts, [2, 1]).logprobs[0] == pytest.approx(logprob((1,), 2), abs=1e-6)


def test_perplexity_agrees_with_the_loss_of_the_model(agent: Any, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("the soup was good .\nthe steak was perfect . i recommend it .\n")
    found = perplexities(agent, path, None)
    task = agent.base.task
    losses, counts = [], []
    for line in path.read_text().splitlines():
        ids = torch.tensor([task.tokenizer.encode(line)])
        losses.append(float(task.reference(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1))
        counts.append(ids.shape[1] - 1)
    assert found["reference"].value == pytest.approx(np.exp(sum(losses) / sum(counts)), rel=1e-4)
    ratio = found["agent"].value / found["reference"].value
    assert found["ratio"].value == pytest.approx(ratio)
    assert ratio != 1.0


def test_hhh_has_two_measured_axes_and_says_what_is_not(agent: Any, comparisons: Path) -> None:
    table = hhh(agent, comparisons, "subset")
    assert {axis: row.get("pairs") for axis, row in table.items()} == {
        **{"helpful": 2, "harmless": 1},
        **{"calibration": None, "truthful": None},
    }
    assert table["truthful"] == {"reference": "not measured", "agent": "not measured"}
    assert 0.0 < table["calibration"]["reference"].value < 1.0  # type: ignore[union-attr]
    # The reference writes what is asked for: it likes each chosen response better.
    assert table["helpful"]["reference"].value == 1.0  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="begins with 'helpful'"):
        hhh(agent, comparisons, "prompt")


def brevity(prompts: list[str], responses: list[str]) -> list[float]:
    return [-float(len(text)) for text in responses]


def test_the_command_measures_all_of_it(
    agent: Any, comparisons: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.save(tmp_path / "saved")
    (tmp_path / "texts.txt").write_text("the soup was good .\n")
    words = [str(tmp_path / "saved"), "--task", "reviews", "--episodes", "16", "--samples", "0"]
    words += ["--texts", str(tmp_path / "texts.txt"), "--hhh", str(comparisons)]
    assert main([*words, "--probe", f"{__name__}:brevity"]) == 0
    shown = capsys.readouterr().out
    assert "honest: truthfulness" in shown
    assert "perplexity" in shown
    found = json.loads((tmp_path / "saved-evaluation" / "evaluation.json").read_text())
    assert found["hhh"]["harmless"]["pairs"] == 1
    change = found["probe"]["agent"]["value"] - found["probe"]["reference"]["value"]
    assert found["probe"]["change"]["value"] == pytest.approx(change)
    assert main([*words, "--probe", "nowhere:f"]) == 2
    assert "--probe must be given as module:name" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "none.jsonl")]) == 2
    assert "--hhh must be an existing file" in capsys.readouterr().err
