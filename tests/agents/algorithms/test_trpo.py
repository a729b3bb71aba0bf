"""The trust region: its line search, its two KLs, and what its critic may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import PPO, TRPO, TRPOConfig
from agents.algorithms.trust_region.fisher import summed_kl
from agents.training.run_log import read_metrics
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import as_bandit, every_toy15_episode, make_envs
from tests.agents.runs import assert_equal, make_agent, weights, without_time
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import SequenceBandit


def toy_agent(**changes: Any) -> TRPO:
    task = load_task("toy15")
    return TRPO(make_envs(task, 16), policy=theta_policy(task), **changes)


@pytest.mark.parametrize(("bend", "tries"), [(-1.0, 10), (-1.0, 0), (1e4, 3)])
def test_a_bad_direction_leaves_the_policy_as_it_was(
    bend: float, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap G3: uphill, or far too long for so few tries."""
    agent = toy_agent(max_backtracks=tries)
    found = agent.learner._longest_step
    monkeypatch.setattr(agent.learner, "_longest_step", lambda *given: bend * found(*given))
    (table,) = agent.policy.model.parameters()
    before = table.detach().clone()
    metrics = agent.update(every_toy15_episode(agent))
    assert torch.equal(before, table)
    assert metrics["line_search_failed"] == 1.0
    for name in ("step_fraction", "kl_to_old", "surrogate_gain"):
        assert metrics[name] == 0.0
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-6)


def test_a_step_that_is_too_long_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = toy_agent(max_kl=0.01)
    found = agent.learner._longest_step
    monkeypatch.setattr(agent.learner, "_longest_step", lambda *given: 10.0 * found(*given))
    metrics = agent.update(every_toy15_episode(agent))
    assert metrics["step_fraction"] in (0.125, 0.0625)
    assert metrics["line_search_failed"] == 0.0
    assert 0.001 < metrics["kl_to_old"] <= 0.01


def test_a_search_that_is_interrupted_leaves_the_policy_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = toy_agent()
    before = weights(agent)

    def interrupt(*_: Any) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.algorithms.trust_region.learner.summed_kl", interrupt)
    with pytest.raises(KeyboardInterrupt):
        agent.update(every_toy15_episode(agent))
    assert_equal(before, weights(agent))


def test_the_kl_of_a_decision_is_the_sum_of_its_tokens() -> None:
    """The same step on the same episodes, per token and per whole response."""
    found = {}
    for name in ("token", "response"):
        agent = toy_agent(max_kl=0.01)
        episodes = every_toy15_episode(agent)
        agent.update(episodes if name == "token" else as_bandit(episodes))
        acted = LanguageModel(theta_policy(load_task("toy15")), 3)
        found[name] = float(summed_kl(acted, agent.policy.lm, episodes, 1.0))
    assert 0.002 * 41 < found["token"] <= 0.01 * 41
    assert 0.002 * 15 < found["response"] <= 0.01 * 15


def test_two_kls_of_two_policies() -> None:
    """Trap G4: to the reference it is "kl", to the policy that acted "kl_to_old"."""
    agent = toy_agent(episodes_per_update=64, max_kl=1e-4)
    metrics = agent.learn(64, progress=False)[0]
    assert 0.0 < metrics["kl_to_old"] <= 1e-4
    assert abs(metrics["kl"]) > 1e-3


def test_the_critic_never_moves_the_policy() -> None:
    """Trap G5 too: the critic's steps of Adam are counted."""
    agent = TRPO(make_envs(tiny_gpt2_task(), 8), episodes_per_update=16, max_kl=0.0)
    before = [p.detach().clone() for p in agent.policy.model.parameters()]
    metrics = agent.learn(16, progress=False)[0]
    assert_equal(before, [p.detach() for p in agent.policy.model.parameters()])
    assert agent.policy.value_head.weight.abs().sum() > 0
    assert metrics["optimizer_steps"] == 16.0
    assert metrics["line_search_failed"] == 1.0
    assert all(p.requires_grad for p in agent.policy.parameters())


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_resumed_run_is_the_uninterrupted_run(critic: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"critic": critic, "cg_iterations": 2}
    whole = make_agent(TRPO, **settings)
    whole.learn(16, log_dir=tmp_path / "whole", progress=False)
    make_agent(TRPO, **settings).learn(8, log_dir=tmp_path / "parts", progress=False)
    resumed = make_agent(TRPO, **settings)
    resumed.learn(16, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert len(runs[0]) == 2
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_it_runs_on_whole_responses_with_a_discount_per_term() -> None:
    agent = TRPO(
        SequenceBandit(make_envs(tiny_gpt2_task(), 8)),
        episodes_per_update=16,
        gamma={"score": 1.0, "kl": 0.9},
        entropy_coef=0.01,
    )
    metrics = agent.learn(16, progress=False)[-1]
    assert 0.0 < metrics["kl_to_old"] <= 0.01
    assert metrics["surrogate_gain"] > 0


def test_rewards_that_are_no_numbers_stop_before_the_step() -> None:
    agent = toy_agent()
    before = weights(agent)
    rollout = every_toy15_episode(agent)
    spoilt = rollout.with_term("score", torch.full_like(rollout.rewards, torch.nan))
    with pytest.raises(ValueError, match=r"the loss of episode \d+ is nan"):
        agent.update(spoilt)
    assert_equal(before, weights(agent))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_kl": -0.1}, "max_kl must be a finite number >= 0, got -0.1"),
        ({"damping": 0.0}, "damping must be a finite number greater than 0, got 0.0"),
        ({"cg_iterations": 0}, "cg_iterations must be an integer >= 1, got 0"),
        ({"backtrack_factor": 1.0}, r"backtrack_factor must be a number in \[1e-06, 0.999999\]"),
        ({"ptx_coef": 0.1}, "a trust region knows no pretraining loss, got ptx_coef = 0.1"),
        ({"precision": "bf16"}, "got precision = 'bf16'; use 'fp32'"),
        ({"gae_lambda": 2}, r"gae_lambda must be a number in \[0, 1\], got 2"),
    ],
)
def test_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRPOConfig(**changes)


def test_what_has_no_surrogate_is_refused(toy15: Task) -> None:
    rule = PPO(make_envs(toy15)).learner.algorithm
    with pytest.raises(ValueError, match="algorithm must have surrogate"):
        TRPO(make_envs(toy15), algorithm=rule)
    with pytest.raises(ValueError, match="no trainable weight"):
        TRPO(make_envs(toy15), policy=theta_policy(toy15).requires_grad_(False))
