"""What an agent of somebody's own may answer, and the sentence it gets for anything else."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import PPO, collect, train
from agents.rollouts.contract import checked_actions, checked_figures
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.agents.runs import make_agent


class Scripted:
    """Answers with what it was made with."""

    def __init__(self, answer: Any, figures: Any = None) -> None:
        self.answer, self.figures = answer, {} if figures is None else figures

    def act(self, observation: dict[str, Any]) -> Any:
        return self.answer

    def update(self, rollout: Any) -> Any:
        return self.figures


def run(agent: Any) -> list[dict[str, float]]:
    return train(agent, make_envs(load_task("toy15"), 2), 2, progress=False)


EOS_TWICE, CERTAIN = np.zeros(2, dtype=np.int64), np.zeros(2)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "a pair of tokens [2] and their log-probabilities, got None; write return"),
        (EOS_TWICE, "a pair of tokens [2] and their log-probabilities, got ndarray of int64"),
        ((EOS_TWICE,), "a pair of tokens [2]"),
        ((np.zeros(3, int), CERTAIN), "tokens [2], one row per environment row, got shape [3]"),
        ((np.zeros((1, 2), int), CERTAIN), "row per environment row, got shape [1, 2]"),
        ((CERTAIN, CERTAIN), "tokens [2] of integers, got ndarray of float64 with shape [2]"),
        ((EOS_TWICE, None), "log-probabilities [2] of numbers, got None"),
        ((EOS_TWICE, "low"), "log-probabilities [2] of numbers, got str 'low'"),
        ((EOS_TWICE, np.zeros(1)), "log-probabilities [2], one row"),
        ((EOS_TWICE, [0.0, math.nan]), "finite and <= 0, got nan for episode 1; return log pi"),
        ((EOS_TWICE, [-math.inf, 0.0]), "finite and <= 0, got -inf for episode 0"),
        ((EOS_TWICE, [0.0, 0.5]), "finite and <= 0, got 0.5 for episode 1"),
    ],
    ids=str,
)
def test_actions_that_are_none(answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"act\(observation\) must return .*" + re.escape(message)):
        run(Scripted(answer))


@pytest.mark.parametrize(
    "answer",
    [
        (EOS_TWICE, CERTAIN),
        [[0, 0], [0.0, 0.0]],
        (EOS_TWICE[:, None], CERTAIN[:, None]),
        (torch.zeros(2, dtype=torch.int32), torch.zeros(2, dtype=torch.bfloat16)),
        (EOS_TWICE, torch.zeros(2, requires_grad=True)),
        (EOS_TWICE, np.full(2, 1e-7)),
    ],
    ids=str,
)
def test_actions_in_other_clothes(answer: Any) -> None:
    assert run(Scripted(answer))[0]["response_length"] == 1.0


def test_actions_of_several_tokens() -> None:
    space = gym.spaces.MultiDiscrete([5, 5, 5])
    tokens = np.zeros((2, 3), dtype=np.int64)
    for logprobs in (np.zeros(2), np.zeros((2, 3))):
        taken = checked_actions((tokens, logprobs), space, 2)
        assert [part.shape for part in taken] == [(2, 3), logprobs.shape]
    with pytest.raises(ValueError, match=r"tokens \[2, 3\], .* got shape \[2\]"):
        checked_actions((EOS_TWICE, CERTAIN), space, 2)


@pytest.mark.parametrize(
    "name",
    [
        "update",
        "episodes",
        "score",
        "gold",
        "kl",
        "kl_k3",
        "response_length",
        "eos_rate",
        "tokens_per_second",
    ],
)
def test_the_loop_s_own_columns_are_its_own(name: str) -> None:
    with pytest.raises(ValueError, match=rf"must not return '{name}', .* such as 'agent_{name}'"):
        run(Scripted((EOS_TWICE, CERTAIN), {"loss": 1.0, name: 99}))


def test_figures_of_its_own() -> None:
    told = {"return": 2, "entropy": np.float32(0.5), "loss": torch.tensor(1.5)}
    (row,) = run(Scripted((EOS_TWICE, CERTAIN), told))
    assert [row[name] for name in told] == [2.0, 0.5, 1.5]
    assert checked_figures({"a": np.array([3.0]), "b": torch.ones(1, requires_grad=True)}) == {
        "a": 3.0,
        "b": 1.0,
    }


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"loss": "3"}, "must return numbers, got 'loss': str '3'"),
        ({"loss": None}, "must return numbers, got 'loss': None"),
        ({"fine": 1, "loss": [1, 2]}, "must return numbers, got 'loss': list [1, 2]"),
        (
            {"loss": torch.ones(2)},
            "must return numbers, got 'loss': Tensor of torch.float32 with shape [2]",
        ),
        ({"loss": 10**400}, "must return numbers, got 'loss': int 1000"),
        ({3: 1.0}, "must name its figures by texts, got 3"),
        (3.0, "must return a dictionary of numbers, got float; return {}"),
    ],
    ids=str,
)
def test_figures_that_are_none(figures: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"update(rollout) {message}")):
        checked_figures(figures)


class Mute:
    """An agent that cannot learn."""

    def act(self, observation: Any) -> Any:
        raise AssertionError("asked before it was looked at")


class Idle:
    """An agent that cannot act."""

    def update(self, rollout: Any) -> dict[str, float]:
        raise AssertionError("asked before it was looked at")


@pytest.mark.parametrize(
    ("agent", "got"),
    [
        (Mute(), "must have act(observation) and update(rollout), got Mute without update"),
        (Idle(), "must have act(observation) and update(rollout), got Idle without act"),
        (3, "got int without act"),
        (Scripted, "must be an object, got the class Scripted; make one of it"),
    ],
)
def test_what_is_no_agent_is_told_before_the_first_rollout(agent: Any, got: str) -> None:
    with pytest.raises(ValueError, match=re.escape(got)):
        run(agent)


def test_what_is_no_policy_collects_nothing() -> None:
    with pytest.raises(ValueError, match=r"policy must have act\(observation\), got Idle without"):
        collect(make_envs(load_task("toy15"), 2), Idle(), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("observation", "got"),
    [
        (3, "got int"),
        ({"input_ids": np.zeros((2, 4), int)}, "got one without 'attention_mask'"),
        (
            {"input_ids": np.zeros(4, int), "attention_mask": np.ones(4, int)},
            r"got shapes \[4\] and \[4\]",
        ),
    ],
)
def test_what_is_no_observation(observation: Any, got: str) -> None:
    agent = make_agent(task=load_task("toy15"))
    message = rf"^observation must be a dictionary of input_ids and attention_mask, .* {got}$"
    with pytest.raises(ValueError, match=message):
        agent.act(observation)


@pytest.mark.parametrize("place", ["/proc/none", "{file}/run", "/proc"])
def test_folders_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = place.format(file=tmp_path / "file")
    agent = PPO(make_envs(load_task("toy15")), episodes_per_update=8, minibatches=1)
    with pytest.raises(ValueError, match=r"^log_dir must be a folder that can be written, got "):
        agent.learn(8, log_dir=path, progress=False)
    assert agent.updates == 0
    with pytest.raises(ValueError, match=r"^path must be (a folder that can be made|new or hold)"):
        agent.save(path)
    assert (tmp_path / "file").read_text() == "mine"
