"""Imitation of demonstrations, from texts and from token ids."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import PPO
from agents.algorithms.demonstrations import encode_demonstrations
from agents.algorithms.sft import SFT
from agents.training.run_log import read_metrics
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, weights, without_time
from tests.toys import EOS, tiny_llama_task

PAIRS = [("w2 w3", "w9 w8 w7"), ("w4", "w9 w9"), ("w5 w6", "w8"), ("w7", "w9 w8 w7 w6")]


def make_agent(**settings: Any) -> SFT:
    given = {"episodes_per_update": 4, "minibatches": 1, "learning_rate": 0.01, **settings}
    return SFT(make_envs(tiny_llama_task(), 4), demonstrations=PAIRS, **given)


def test_the_policy_learns_to_say_what_was_demonstrated() -> None:
    agent = make_agent()
    before = agent.cross_entropy(PAIRS)
    agent.learn(4 * 60, progress=False)
    after = agent.cross_entropy(PAIRS)
    assert before["cross_entropy"] > 2.0
    assert after["cross_entropy"] < 0.1
    assert after["perplexity"] == pytest.approx(math.exp(after["cross_entropy"]))
    prompts = [pair.prompt for pair in agent.demonstrations]
    said = [ids.tolist() for ids in agent.sample(prompts).responses()]
    wanted = [pair.response.tolist() for pair in agent.demonstrations]
    assert sum(a == b for a, b in zip(said, wanted, strict=True)) >= 3


def test_the_loss_is_the_mean_over_response_tokens() -> None:
    """On "toy15" the reference's probabilities are known: EOS has 0.502483 at the root."""
    task = load_task("toy15")
    prompt = task.prompts[0]
    pairs = [(prompt, [0]), (prompt, [0])]
    agent = SFT(
        make_envs(task, 2), demonstrations=pairs, episodes_per_update=2, minibatches=1, seed=1
    )
    assert agent.cross_entropy(pairs)["cross_entropy"] == pytest.approx(
        -math.log(0.502483), abs=1e-5
    )
    metrics = agent.learn(2, progress=False)[0]
    assert metrics["cross_entropy"] == pytest.approx(-math.log(0.502483), abs=1e-5)


def test_prompts_are_read_and_not_learned() -> None:
    rollout = make_agent().collect()
    assert rollout.response_lengths.sum().item() == 3 + 2 + 1 + 4 + 4
    assert (rollout.tokens[rollout.last_action] == EOS).all()


def test_each_demonstration_is_seen_once_per_pass() -> None:
    agent = make_agent(episodes_per_update=2)
    seen: list[list[int]] = []
    for _ in range(4):
        seen += [ids.tolist() for ids in agent.collect().responses()]
        agent.updates += 1
    wanted = sorted(pair.response.tolist() for pair in agent.demonstrations)
    assert sorted(seen[:4]) == sorted(seen[4:]) == wanted


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path: Path) -> None:
    whole, part, resumed = make_agent(), make_agent(), make_agent()
    whole.learn(4 * 6, log_dir=tmp_path / "whole", progress=False)
    part.learn(4 * 3, log_dir=tmp_path / "parts", progress=False)
    resumed.learn(4 * 6, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_the_next_stage_starts_from_it() -> None:
    agent = make_agent()
    agent.learn(40, progress=False)
    task = dataclasses.replace(agent.base.task, reference=agent.policy.model)
    metrics = PPO(make_envs(task, 4), episodes_per_update=8).learn(8, progress=False)[0]
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-4)


def test_texts_continue_their_prompt() -> None:
    found = encode_demonstrations([("w2 w3", " w9"), ("w2", "w3 w4")], tiny_llama_task())
    assert [pair.prompt.tolist() for pair in found] == [[2, 3], [2]]
    assert [pair.response.tolist() for pair in found] == [[9, EOS], [3, 4, EOS]]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["w2"], "demonstration 0 must be a pair of prompt and response, got 'w2'"),
        ([("w2", "  ")], "the response of demonstration 0 must not be empty"),
        ([("w2", [])], "the response of demonstration 0 must not be empty"),
        ([("w2", "w3 " * 9)], "got 1 pairs and none that fits"),
        ([("w2", "nobody")], "the response of demonstration 0 cannot be encoded"),
        ([], "got 0 pairs and none that fits"),
    ],
)
def test_what_cannot_be_used_is_refused(pairs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_demonstrations(pairs, tiny_llama_task())


def test_what_is_too_long_is_left_out_and_counted() -> None:
    with pytest.warns(UserWarning, match="1 of 5 demonstrations are left out"):
        found = encode_demonstrations([*PAIRS, ("w2", "w3 " * 9)], tiny_llama_task())
    assert len(found) == 4
    assert all(isinstance(pair.response, torch.Tensor) for pair in found)
