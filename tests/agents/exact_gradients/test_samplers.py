"""Expected gradients where another policy samples than the one that learns, by the settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, RLOO, Agent, Reinforce
from agents.exact_gradients import exact_gradients
from agents.exact_gradients.derivatives import trained_weights
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy

NOISE: dict[str, Any] = {"behavior_noise": 0.5}
STALE: dict[str, Any] = {"staleness": 1}


def agent_of(kind: type[Agent], task: Task, num_envs: int = 16, **settings: Any) -> Agent:
    """An agent at theta; where it is stale, the reference samples for it."""
    settings = {"aggregation": "sum", "episodes_per_update": 16, **settings}
    envs = make_envs(task, num_envs, kl_coef=0.5)
    agent = kind(envs, policy=theta_policy(task), **settings)
    if agent.episode_sampling.past_weights:
        (table,) = task.reference.parameters()
        agent.episode_sampling.past_weights.add({"lm_head.weight": table.detach().clone()})
    return agent


def test_a_stale_agent_is_measured_with_its_past(toy15: Task) -> None:
    found = exact_gradients(agent_of(RLOO, toy15, group_size=2, **STALE))
    given = exact_gradients(agent_of(RLOO, toy15, group_size=2), behavior=toy15.reference)
    assert torch.allclose(found.expected, given.expected, atol=1e-7)
    assert found.effective_sample_size == pytest.approx(0.978, abs=2e-3)
    own = exact_gradients(agent_of(RLOO, toy15, group_size=2))
    assert found.relative_bias > 0.05 > 1e-6 >= own.relative_bias


@pytest.mark.parametrize("settings", [STALE, NOISE, {"behavior_noise": "bf16"}])
def test_whole_responses_repair_what_can_be_said(toy15: Task, settings: dict[str, Any]) -> None:
    bias = {
        kind: exact_gradients(agent_of(RLOO, toy15, importance=kind, **settings)).relative_bias
        for kind in ("none", "token", "sequence", "geometric")
    }
    assert bias.pop("sequence") <= 1e-6
    assert min(bias.values()) > 1e-5, bias


@pytest.mark.parametrize("settings", [{"top_k": 2}, {"top_p": 0.8}])
def test_nothing_repairs_what_is_never_said(toy15: Task, settings: dict[str, Any]) -> None:
    """Ratios of whole responses are then at most 1, and what they lack is never seen."""
    for kind in ("none", "token", "sequence"):
        found = exact_gradients(agent_of(RLOO, toy15, importance=kind, **settings))
        assert found.relative_bias > 0.01
    agent = agent_of(RLOO, toy15, importance="sequence", **settings)
    assert agent.update(agent.collect())["importance_max"] <= 1.0 + 1e-5


def test_the_kl_is_the_learner_s_where_the_sampler_is_corrected(toy15: Task) -> None:
    """The score is 0: all that is learned is the KL, of pi with a correction, of mu without."""
    unpaid = dataclasses.replace(toy15, reward=lambda prompts, responses: [0.0] * len(prompts))
    for kl_penalty in ("reference", "sampled"):
        for kind, is_right in (("sequence", True), ("none", False)):
            envs = make_envs(unpaid, 4, kl_coef=1.0, kl_penalty=kl_penalty)
            agent = RLOO(
                envs, policy=theta_policy(unpaid), aggregation="sum", importance=kind, **NOISE
            )
            found = exact_gradients(agent)
            assert found.truth.norm().item() == pytest.approx(0.067033, abs=1e-6)
            assert (found.relative_bias <= 1e-6) is is_right


SAMPLED: list[tuple[type[Agent], dict[str, Any]]] = [
    (Reinforce, {"baseline": "none", **STALE}),
    (Reinforce, {"baseline": "none", "importance": "sequence", **STALE}),
    (Reinforce, {"baseline": "none", "importance": "token", **NOISE}),
    (Reinforce, {"baseline": "none", "importance": "geometric", "top_p": 0.8}),
    (PPO, {"gae_lambda": 0.5, "whiten_advantages": False, "importance": "token", **STALE}),
    (PPO, {"gae_lambda": 1.0, "whiten_advantages": False, "behavior_noise": "bf16"}),
    (RLOO, {"group_size": 2, "importance": "sequence", "importance_cap": 1.1, **NOISE}),
    (RLOO, {"group_size": 2, "importance": "sequence", "importance_band": (0.8, 1.2), **NOISE}),
    (RLOO, {"group_size": 4, "importance": "token", "importance_cap": 1.1, **STALE}),
    (RLOO, {"group_size": 2, "top_k": 2}),
    (GRPO, {"group_size": 4, "importance": "geometric", **NOISE}),
    (GRPO, {"group_size": 4, "top_p": 0.8}),
    # In the second of two steps, with ratios to the policy that acted.
    (GRPO, {"group_size": 2, "clip_range": 0.1, "dual_clip": 1.2, "minibatches": 2, **STALE}),
    (PPO, {"gae_lambda": 1.0, "whiten_advantages": False, "dual_clip": 1.1, **STALE}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), SAMPLED)
def test_a_hundred_thousand_groups_agree(
    toy15: Task, kind: type[Agent], settings: dict[str, Any]
) -> None:
    """Sampled by the agent's own sampler, and learned from by its own algorithm."""
    size, draws, units = settings.get("group_size", 1), 5, 20_000
    is_stale = "dual_clip" in settings
    found = exact_gradients(agent_of(kind, toy15, **settings), is_stale=is_stale)
    assert found.standard_error is None
    whole = {"epochs": 1, "minibatches": 1, **settings, "episodes_per_update": units * size}
    agent = agent_of(kind, toy15, 5_000, **whole)
    algorithm, sampled = agent.learner.algorithm, torch.zeros_like(found.expected)
    for draw in range(draws):
        rollout = agent.resample(draw)
        new = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
        old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
        if is_stale:
            old = dataclasses.replace(old, logprobs=rollout.logprobs)
        rollout = agent.learned(rollout, old)
        targets = algorithm.targets(rollout, old, agent.base.mdp.reference)
        losses, _ = algorithm.loss(rollout, new, old, targets)
        slopes: tuple[Tensor, ...] = torch.autograd.grad(-losses.mean(), trained_weights(agent))
        sampled += torch.cat([slope.flatten() for slope in slopes]).double() / draws
    error = (found.variance / (units * draws)).sqrt()
    assert float(((sampled - found.expected).abs() / error.clamp(min=1e-8)).max()) <= 4.0
