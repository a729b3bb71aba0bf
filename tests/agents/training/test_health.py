"""Signs of trouble are named once, and a healthy run says nothing."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import GRPO, PPO
from agents.training.health import Health, detect_anomalies
from rlhf_env.rollout import Rollout
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.toys import tiny_llama_task

HEALTHY = {"entropy": 1.0, "eos_rate": 0.5}


def rollout_of(log_ratios: list[float], scores: list[float]) -> Rollout:
    """Return one-token episodes with these log-ratios."""
    count = len(scores)
    tokens = torch.zeros(count, 2, dtype=torch.int64)
    is_action = torch.tensor([[False, True]]).expand(count, 2)
    nothing = torch.zeros(count, 2)
    return Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=torch.tensor([[0.0, ratio] for ratio in log_ratios]),
        ref_logprobs=nothing,
        rewards=nothing,
        reward_terms={"score": nothing, "kl": nothing},
        score=torch.tensor(scores),
        terminated=torch.ones(count, dtype=torch.bool),
        group=torch.zeros(count, dtype=torch.int64),
        prompt_index=torch.zeros(count, dtype=torch.int64),
        decision=is_action.long() - 1,
    )


def names(rollout: Rollout, first_entropy: float | None = 1.0, **metrics: float) -> list[str]:
    return [sign for sign, _ in detect_anomalies(rollout, HEALTHY | metrics, first_entropy)]


VARIED = [float(i) for i in range(8)]


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([-1.0, -1.1] * 4, ["negative_kl"]),
        # As negative on average, but with a spread of 3 nats it may be chance.
        ([-4.0, 1.9] * 4, []),
        ([1.0, 1.1] * 4, []),
        ([0.0] * 8, []),
    ],
)
def test_a_negative_kl_is_told_from_chance(ratios: list[float], expected: list[str]) -> None:
    assert names(rollout_of(ratios, VARIED)) == expected


def test_few_episodes_tell_nothing_about_the_kl() -> None:
    assert names(rollout_of([-1.0, -1.1], [0.0, 1.0])) == []


@pytest.mark.parametrize(("entropy", "expected"), [(0.019, ["entropy_collapse"]), (0.021, [])])
def test_entropy_is_compared_with_the_first(entropy: float, expected: list[str]) -> None:
    assert names(rollout_of([0.0] * 8, VARIED), entropy=entropy) == expected


def test_responses_that_never_end_and_scores_that_never_differ() -> None:
    rollout = rollout_of([0.0] * 8, [2.0] * 8)
    assert names(rollout, eos_rate=0.0) == ["all_truncated", "no_signal"]


def test_each_sign_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    health, rollout = Health(), rollout_of([0.0] * 8, [2.0] * 8)
    for update in (1.0, 2.0):
        health.examine(rollout, HEALTHY | {"update": update})
    assert [record.message for record in caplog.records] == [
        "update 1: all 8 responses have the score 2, so there is nothing to learn from but the "
        "KL; use a reward that tells responses apart"
    ]


def test_what_a_policy_has_learned_is_no_sign_of_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where one response of full length is best, all responses become it."""
    health = Health()
    health.examine(rollout_of([0.0] * 8, VARIED), HEALTHY | {"update": 1.0})
    rollout = rollout_of([0.0] * 8, [2.0] * 8)
    health.examine(rollout, HEALTHY | {"update": 2.0, "eos_rate": 0.0})
    assert not caplog.records


@pytest.mark.parametrize(("kl", "expected"), [(19.0, []), (41.0, ["distant_policy"])])
def test_a_kl_that_runs_away_is_said(kl: float, expected: list[str]) -> None:
    assert names(rollout_of([kl] * 8, VARIED)) == expected


def test_the_update_that_is_named_is_the_run_s(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def constant(prompts: list[str], responses: list[str]) -> list[float]:
        return [1.0 for _ in responses]

    task: Any = dataclasses.replace(tiny_llama_task(), reward=constant)
    agent = PPO(make_envs(task, 8), episodes_per_update=8)
    with caplog.at_level(logging.WARNING, logger="agents"):
        agent.learn(16, progress=False, log_dir=tmp_path)
    assert [r.message.split(":")[0] for r in caplog.records] == ["update 1"]


def test_a_healthy_run_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    PPO(make_envs(load_task("toy15"), 8), episodes_per_update=16).learn(64, progress=False)
    assert not caplog.records


def test_a_constant_reward_is_noticed_in_training(caplog: pytest.LogCaptureFixture) -> None:
    def constant(prompts: list[str], responses: list[str]) -> list[float]:
        return [1.0 for _ in responses]

    task: Any = dataclasses.replace(tiny_llama_task(), reward=constant)
    with caplog.at_level(logging.WARNING, logger="agents"):
        GRPO(make_envs(task, 8), episodes_per_update=16).learn(32, progress=False)
    assert sum("nothing to learn from" in record.message for record in caplog.records) == 1
