"""PPO by a penalty: the right gradient, and a weight that follows the KL and is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import PPO, KLPenaltyPPO, KLPenaltyPPOConfig
from agents.algorithms.kl_penalty_ppo import kl_to_old, next_penalty_coef
from agents.training.run_log import read_metrics
from rlhf_env.task import Task
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.agents.runs import assert_equal, make_agent, weights, without_time
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import SequenceBandit


def test_value_and_gradient_are_those_of_the_kl_from_old_to_new() -> None:
    """Trap D1's numbers: KL((.5,.3,.2), (.4,.4,.2)), whose slope in the logits is new - old."""
    old = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    logits = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64).log().requires_grad_()
    expected = (old * kl_to_old(logits.log_softmax(dim=0) - old.log())).sum()
    assert expected.item() == pytest.approx(0.025267, abs=1e-6)
    expected.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-0.1, 0.1, 0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("observed", "expected"),
    [(0.0, 0.5), (0.0066, 0.5), (0.0067, 1.0), (0.01, 1.0), (0.0149, 1.0), (0.0151, 2.0)],
)
def test_the_weight_is_halved_and_doubled(observed: float, expected: float) -> None:
    assert next_penalty_coef(1.0, observed, 0.01) == expected


def test_the_weight_can_always_come_back() -> None:
    assert next_penalty_coef(1e-6, 0.0, 0.01) == 1e-6
    assert next_penalty_coef(1e6, math.inf, 0.01) == 1e6
    with pytest.raises(ValueError, match="observed KL must be a number, got nan"):
        next_penalty_coef(1.0, math.nan, 0.01)


def test_the_loss_is_the_surrogate_and_the_weighted_penalty(toy15: Task) -> None:
    """One decision of ratio 1.5 and advantage 1: -1.5 + 2 (0.5 - log 1.5) = -1.310930."""
    agent = KLPenaltyPPO(
        make_envs(toy15, kl_coef=0.5), policy=theta_policy(toy15), penalty_coef=2.0, value_coef=0.0
    )
    rule, episodes = agent.learner.algorithm, every_toy15_episode(agent)
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    targets = rule.targets(episodes, old, agent.base.mdp.reference)
    moved = torch.where(episodes.is_action, old.logprobs + math.log(1.5), 0.0)
    targets.advantages.fill_(1.0)
    targets.weight.fill_(1.0)
    new = type(old)(**{**vars(old), "logprobs": moved})
    losses, metrics = rule.loss(episodes, new, old, targets)
    assert losses[0].item() == pytest.approx(-1.310930, abs=1e-5)
    assert losses[7].item() == pytest.approx(3 * -1.310930, abs=1e-5)
    assert metrics["clip_fraction"].tolist() == [0.0] * 15


def test_a_policy_that_stays_loosens_and_one_that_runs_tightens() -> None:
    still = make_agent(KLPenaltyPPO, learning_rate=0.0)
    rows = still.learn(24, progress=False)
    assert [row["penalty_coef"] for row in rows] == [1.0, 0.5, 0.25]
    assert rows[0]["kl_to_old"] == pytest.approx(0.0, abs=1e-9)
    running = make_agent(KLPenaltyPPO, learning_rate=0.05, penalty_coef=0.25)
    rows = running.learn(16, progress=False)
    assert rows[0]["kl_to_old"] > 0.015
    assert [row["penalty_coef"] for row in rows] == [0.25, 0.5]


@pytest.mark.slow
def test_the_penalty_brings_the_kl_near_its_target() -> None:
    agent = KLPenaltyPPO(
        make_envs(tiny_gpt2_task(), 16),
        episodes_per_update=16,
        learning_rate=0.003,
        penalty_target=0.02,
    )
    rows = agent.learn(30 * 16, progress=False)
    late = sorted(row["kl_to_old"] for row in rows[15:])
    assert 0.02 / 2.5 < late[len(late) // 2] < 0.02 * 2.5


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """The weight of the penalty is kept: it differs from the first one at every stop."""
    whole = make_agent(KLPenaltyPPO)
    whole.learn(24, log_dir=tmp_path / "whole", progress=False)
    make_agent(KLPenaltyPPO).learn(8, log_dir=tmp_path / "parts", progress=False)
    resumed = make_agent(KLPenaltyPPO)
    resumed.learn(24, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert runs[0][1]["penalty_coef"] != 1.0
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_whole_responses_as_decisions() -> None:
    agent = KLPenaltyPPO(SequenceBandit(make_envs(tiny_gpt2_task(), 8)), episodes_per_update=16)
    metrics = agent.learn(16, progress=False)[0]
    assert metrics["kl_to_old"] > 0
    assert metrics["value_loss"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalty_coef": 0.0}, r"penalty_coef must be a number in \[1e-06, 1e\+06\], got 0.0"),
        ({"penalty_target": 0}, "penalty_target must be a finite number greater than 0, got 0"),
        ({"value_coef": -1}, "value_coef must be a finite number >= 0, got -1"),
        ({"gae_lambda": 2}, r"gae_lambda must be a number in \[0, 1\], got 2"),
    ],
)
def test_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KLPenaltyPPOConfig(**changes)


def test_what_cannot_adapt_is_refused(toy15: Task) -> None:
    rule = PPO(make_envs(toy15)).learner.algorithm
    with pytest.raises(ValueError, match="algorithm must have observe"):
        KLPenaltyPPO(make_envs(toy15), algorithm=rule)
