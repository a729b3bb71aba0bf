"""Clip-Cov and KL-Cov: which decisions they choose, and what becomes of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents.training.learner
from agents import GRPO, PPO, RLOO, TRPO, Agent, KLPenaltyPPO, Reinforce
from agents.entropy.covariance import covariances, drawn_to_leave_out, largest, with_selection
from agents.settings.group import RLOOConfig
from agents.settings.ppo import PPOConfig
from agents.settings.trpo import TRPOConfig
from rlhf_env.engine.language_model import length_batches
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, make_agent, weights
from wrappers.vector import MacroAction, SequenceBandit

LOGPROBS = torch.tensor([[-1.0, -3.0], [-2.0, 0.0]])
ADVANTAGES = torch.tensor([[2.0, 0.0], [1.0, 5.0]])
MASK = torch.tensor([[True, True], [True, False]])
# Means -2 and 1: (1)(1), (-1)(-1) and 0.
PARTS = [[1.0, 1.0], [0.0, 0.0]]


def test_covariances_by_hand() -> None:
    assert covariances(LOGPROBS, ADVANTAGES, MASK).tolist() == PARTS


def test_what_is_outside_the_band_is_never_left_out() -> None:
    parts = torch.tensor([[0.5, 2.0, 3.0, 9.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    generator = np.random.default_rng(0)
    drawn = [drawn_to_leave_out(parts, mask, 0.3, (1.0, 5.0), generator) for _ in range(200)]
    kept = torch.stack(drawn).mean(dim=0)
    assert kept[0, [0, 3]].tolist() == [1.0, 1.0]
    # One of four decisions, drawn from two.
    assert {float(weights.sum()) for weights in drawn} == {3.0}
    assert kept[0, 1].item() == pytest.approx(0.5, abs=0.15)
    expected = drawn_to_leave_out(parts, mask, 0.3, (1.0, 5.0), None)
    assert expected.tolist() == [[1.0, 0.5, 0.5, 1.0]]


def test_no_candidate_leaves_all() -> None:
    found = drawn_to_leave_out(torch.zeros(2, 2), MASK, 1.0, (1.0, 5.0), np.random.default_rng(0))
    assert found.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_the_largest_come_in_order_and_never_from_the_padding() -> None:
    parts = torch.tensor([[1.0, 3.0], [3.0, 7.0]])
    assert largest(parts, MASK, 0.01).tolist() == [[False, True], [False, False]]
    assert largest(parts, MASK, 0.67).tolist() == [[False, True], [True, False]]
    assert largest(parts, MASK, 1.0).tolist() == MASK.tolist()


AGENTS = [Reinforce, RLOO, GRPO, PPO, KLPenaltyPPO, TRPO]
WRAPS = [None, lambda envs: MacroAction(envs, 2), SequenceBandit]
CLIP: dict[str, Any] = {"clip_cov_fraction": 0.2, "clip_cov_band": (0.0, 100.0)}
KL: dict[str, Any] = {"kl_cov_fraction": 0.2, "kl_cov_coef": 1.0}
STEPS: dict[str, Any] = {"epochs": 2, "minibatches": 2, "learning_rate": 0.01}


def one_update(kind: type[Agent], task: Task, wrap: Any, **settings: Any) -> Any:
    envs: Any = make_envs(task, 32, kl_coef=0.1)
    agent = kind(
        envs if wrap is None else wrap(envs),
        episodes_per_update=32,
        **{**(STEPS if kind is not TRPO else {}), **settings},
    )
    metrics = agent.update(agent.collect())
    return metrics, weights(agent)


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_every_agent_leaves_decisions_out(toy15: Task, kind: type[Agent], wrap: Any) -> None:
    plain, before = one_update(kind, toy15, wrap)
    metrics, after = one_update(kind, toy15, wrap, **CLIP)
    assert 0.0 < metrics["selected_fraction"] <= 0.2
    assert metrics["advantage_covariance"] == plain["advantage_covariance"]
    assert not torch.equal(before[0], after[0])


@pytest.mark.parametrize("kind", AGENTS[:-1])
@pytest.mark.parametrize("wrap", WRAPS)
def test_every_agent_holds_decisions_back(toy15: Task, kind: type[Agent], wrap: Any) -> None:
    _, before = one_update(kind, toy15, wrap)
    metrics, after = one_update(kind, toy15, wrap, **KL)
    assert metrics["selected_fraction"] == pytest.approx(0.2, abs=0.05)
    assert not torch.equal(before[0], after[0])


def test_all_decisions_left_out_leave_no_gradient(toy15: Task) -> None:
    settings: dict[str, Any] = {"clip_cov_fraction": 1.0, "clip_cov_band": (-1e9, 1e9)}
    metrics, after = one_update(RLOO, toy15, None, **settings, epochs=1, minibatches=1)
    assert metrics["selected_fraction"] == 1.0
    assert metrics["gradient_norm"] == 0.0
    assert torch.equal(after[0], toy15.reference.get_parameter("lm_head.weight"))


def test_the_split_into_micro_batches_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for limit in (1 << 14, 24):
        monkeypatch.setattr(
            agents.training.learner,
            "length_batches",
            lambda is_action, limit=limit: length_batches(is_action, limit),
        )
        for settings in (CLIP, KL):
            agent = make_agent(GRPO, group_size=4, adam_epsilon=1e-2, **settings)
            agent.update(agent.collect())
            found.append(weights(agent))
    for whole, split in zip(found[:2], found[2:], strict=True):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, split, strict=True))


@pytest.mark.parametrize("settings", [CLIP, KL])
def test_a_resumed_run_draws_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    whole = make_agent(GRPO, group_size=4, **settings)
    whole.learn(48, log_dir=tmp_path / "whole", progress=False)
    make_agent(GRPO, group_size=4, **settings).learn(24, log_dir=tmp_path / "parts", progress=False)
    resumed = make_agent(GRPO, group_size=4, **settings)
    resumed.learn(48, log_dir=tmp_path / "parts", progress=False)
    assert_equal(weights(whole), weights(resumed))
    loaded = GRPO.load(tmp_path / "parts" / "checkpoints" / "update-00000006", whole.envs)
    assert loaded.config == whole.config


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (PPOConfig, {"clip_cov_fraction": 0.0}, "clip_cov_fraction"),
        (PPOConfig, {"clip_cov_fraction": 0.1, "kl_cov_fraction": 0.1}, "leave one out"),
        (PPOConfig, {"clip_cov_fraction": 0.1, "clip_cov_band": (5.0, 1.0)}, "two numbers"),
        (RLOOConfig, {"kl_cov_fraction": 0.1}, "raise one of them"),
        (TRPOConfig, {"kl_cov_fraction": 0.1}, "lower max_kl"),
    ],
)
def test_bad_settings(config: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_targets_without_decisions_are_refused() -> None:
    with pytest.raises(ValueError, match="need targets of decisions, got object"):
        with_selection(object(), LOGPROBS, PPOConfig(clip_cov_fraction=0.1), None)
    assert with_selection(3, LOGPROBS, PPOConfig(), None) == (3, {})
