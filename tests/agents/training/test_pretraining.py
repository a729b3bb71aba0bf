"""The pretraining loss of PPO-ptx: its value, its pull, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agents import PPO
from agents.training.pretraining import pretraining_loss
from agents.training.run_log import read_metrics
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, make_agent, weights, without_time
from tests.toys import tiny_gpt2_task

TEXTS = [torch.tensor([2, 3, 4, 5]), torch.tensor([3, 9, 1]), torch.tensor([2, 7, 7, 7, 1])]


def test_the_loss_on_a_table(toy15: Task) -> None:
    """By hand: p(1) = 0.108773, then p(EOS | 1) = 0.344453; p(EOS) = 0.502483 elsewhere.

    The mean is over the three predicted tokens, not over the two texts.
    """
    agent = PPO(make_envs(toy15), episodes_per_update=8)
    texts = [torch.tensor([0, 1, 0]), torch.tensor([0, 0])]
    loss = pretraining_loss(agent.policy, texts, weight=2.0)
    assert loss.item() == pytest.approx((2.218492 + 1.065797 + 0.688193) / 3, abs=1e-5)
    (table,) = agent.policy.model.parameters()
    assert table.grad is not None
    # In state (1) one of three tokens: 2/3 (p - onehot) of p = (0.344453, 0.551257, 0.104290).
    expected = [-0.437031, 0.367505, 0.069527]
    assert table.grad[:, 1].tolist() == pytest.approx(expected, abs=1e-5)


def mean_loss(agent: Any) -> float:
    loss = pretraining_loss(agent.policy, TEXTS, weight=1.0).item()
    agent.policy.zero_grad()
    return loss


def test_it_raises_the_likelihood_of_the_texts() -> None:
    agent = make_agent(ptx_coef=5.0, pretraining=TEXTS)
    before = mean_loss(agent)
    rows = agent.learn(40, progress=False)
    assert mean_loss(agent) < 0.6 * before
    assert rows[-1]["pretraining_loss"] < rows[0]["pretraining_loss"]


def test_a_resumed_run_draws_the_same_texts(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"ptx_coef": 0.5, "pretraining": TEXTS}
    whole = make_agent(**settings)
    whole.learn(24, log_dir=tmp_path / "whole", progress=False)
    make_agent(**settings).learn(8, log_dir=tmp_path / "parts", progress=False)
    resumed = make_agent(**settings)
    resumed.learn(24, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_texts_are_tokenized() -> None:
    agent = make_agent(ptx_coef=0.5, pretraining=["w5 w5 w3", "w2 w9"])
    assert [ids.tolist() for ids in agent.learner.pretraining] == [[5, 5, 3], [2, 9]]


def test_what_the_model_cannot_hold_is_cut() -> None:
    agent = make_agent(ptx_coef=0.5, pretraining=[torch.full((500,), 3)])
    assert len(agent.learner.pretraining[0]) == 128


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ptx_coef": 0.5}, "got ptx_coef = 0.5 and 0 texts; give both or neither"),
        ({"pretraining": TEXTS}, "got ptx_coef = 0.0 and 3 texts; give both or neither"),
        ({"ptx_coef": -1.0}, "ptx_coef must be a finite number >= 0, got -1.0"),
        (
            {"ptx_coef": 0.5, "pretraining": [TEXTS[0], torch.tensor([3])]},
            "must hold at least 2 tokens, got 1 in text 1; remove it",
        ),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPO(make_envs(tiny_gpt2_task()), **settings)
