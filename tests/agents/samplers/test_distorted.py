"""Samplers that are not the policy: what they do to the logits, and that they say so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agents import RLOO
from agents.rollouts.collect import collect
from agents.rollouts.players import geometric_mixture
from agents.samplers.distorted import state_noise, truncated_logits
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy, tiny_gpt2_task

LOGITS = torch.tensor([[0.15, 0.5, 0.05, 0.3], [0.25, 0.25, 0.25, 0.25]]).log()


def kept(temperature: float = 1.0, **limits: Any) -> list[list[int]]:
    found = truncated_logits(LOGITS, temperature, limits.get("top_k"), limits.get("top_p"))
    is_kept = found > -torch.inf
    assert torch.equal(found[is_kept], LOGITS[is_kept])
    return [row.nonzero().flatten().tolist() for row in is_kept]


def test_the_most_likely_tokens_are_left() -> None:
    assert kept() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert kept(top_k=2) == [[1, 3], [0, 1]]
    assert kept(top_k=9) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert kept(top_p=0.49) == [[1], [0, 1]]
    assert kept(top_p=0.79) == [[1, 3], [0, 1, 2, 3]]
    assert kept(top_p=0.9) == [[0, 1, 3], [0, 1, 2, 3]]


def test_the_temperature_comes_before_top_p() -> None:
    """At temperature 2 the chances are 0.379, 0.294, 0.208 and 0.120."""
    assert kept(1.0, top_p=0.45)[0] == [1]
    assert kept(2.0, top_p=0.45)[0] == [1, 3]
    assert kept(2.0, top_p=0.7)[0] == [0, 1, 3]


def test_top_p_is_of_what_top_k_left() -> None:
    """Of 0.5 and 0.3 the first has 0.625."""
    assert kept(top_k=2, top_p=0.6)[0] == [1]
    assert kept(top_p=0.6)[0] == [1, 3]


def test_noise_is_the_state_s() -> None:
    tokens = torch.tensor([[4, 5, 6], [4, 5, 0], [4, 5, 9], [5, 4, 6]])
    noise = state_noise(tokens, torch.tensor([3, 2, 2, 3]), 10_000, (0, 7))
    assert torch.equal(noise[1], noise[2])
    assert not torch.equal(noise[0], noise[1])
    assert abs(float(noise[0] @ noise[3])) / 10_000 < 0.05
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    again = state_noise(tokens[:1], torch.tensor([3]), 10_000, (0, 7))
    assert torch.equal(again[0], noise[0])
    for key in ((0, 8), (1, 7)):
        other = state_noise(tokens[:1], torch.tensor([3]), 10_000, key)
        assert abs(float(other[0] @ noise[0])) / 10_000 < 0.05


SAMPLERS: list[dict[str, Any]] = [
    {"behavior_noise": 0.7},
    {"behavior_noise": "bf16"},
    {"top_k": 2},
    {"top_p": 0.6},
    {"behavior_noise": 0.2, "top_k": 2, "top_p": 0.9},
]


@pytest.mark.parametrize("settings", SAMPLERS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", ["toy15", "gpt2"])
def test_log_probabilities_are_the_sampler_s(
    settings: dict[str, Any], temperature: float, name: str
) -> None:
    """Decoded at once, stepped, and by the distribution itself."""
    task = load_task("toy15") if name == "toy15" else tiny_gpt2_task()
    agent = RLOO(make_envs(task, 8), temperature=temperature, seed=3, **settings)
    rollout = agent.collect()
    with agent.sampling() as sampler:
        seed = (3, 0, 0)
        stepped = collect(agent.envs, sampler, 64, fast=False, seed=seed, group_size=4)
        told = [
            sampler.token_probabilities(rollout.tokens, torch.full((64,), at))
            for at in range(1, rollout.tokens.shape[1])
        ]
    assert torch.equal(rollout.tokens, stepped.tokens)
    assert torch.allclose(rollout.logprobs, stepped.logprobs, atol=1e-5)
    chances = torch.stack(told, dim=1).gather(2, rollout.tokens[:, 1:, None])[..., 0]
    mask = rollout.is_action[:, 1:]
    assert torch.allclose(chances[mask].log().float(), rollout.logprobs[:, 1:][mask], atol=1e-5)
    own = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    assert not torch.allclose(own, rollout.logprobs, atol=1e-4)


def test_no_token_goes_past_the_distortion() -> None:
    """On a GPU the tokens of an engine that caches come from its own memory."""
    agent = RLOO(make_envs(tiny_gpt2_task()), behavior_noise=0.5)
    assert agent.policy.lm.engine.caches(16)
    mixed = geometric_mixture(agent.policy, agent.base.mdp.reference, 0.5)
    with agent.sampling() as sampler:
        assert not sampler.lm.engine.caches(16)
    assert not mixed.lm.engine.caches(16)


def test_bf16_rounds_the_logits(toy15: Task) -> None:
    agent = RLOO(make_envs(toy15), policy=theta_policy(toy15), behavior_noise="bf16")
    prompt = toy15.prompts[0][None]
    with agent.sampling() as sampler:
        found = sampler.lm.next_logits(prompt, torch.tensor([1]))
    exact = agent.policy.lm.next_logits(prompt, torch.tensor([1]))
    assert torch.equal(found, exact.bfloat16().float())
    assert not torch.equal(found, exact)


def test_noise_changes_from_update_to_update_and_evaluation_has_none(toy15: Task) -> None:
    agent = RLOO(make_envs(toy15), behavior_noise=0.5, learning_rate=0.0)
    plain = RLOO(make_envs(toy15), learning_rate=0.0)
    seen: list[Tensor] = []
    for _ in range(2):
        with agent.sampling() as sampler:
            seen.append(sampler.token_probabilities(toy15.prompts[0][None], torch.tensor([1])))
        agent.update(agent.collect())
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)
    assert agent.evaluate(32) == plain.evaluate(32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"staleness": -1}, "staleness must be an integer >= 0, got -1"),
        ({"behavior_noise": -0.1}, "behavior_noise must be a finite number >= 0, got -0.1"),
        ({"behavior_noise": "fp8"}, "a standard deviation >= 0 or 'bf16', got 'fp8'"),
        ({"top_k": 0}, "top_k must be an integer >= 1, got 0"),
        ({"top_p": 1.5}, r"top_p must be a number in \[1e-06, 1\], got 1.5"),
        ({"top_p": 0}, "top_p must be a number"),
    ],
)
def test_bad_settings(toy15: Task, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RLOO(make_envs(toy15), **settings)
