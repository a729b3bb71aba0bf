"""Every built-in agent honors, or refuses, every setting of sampler, correction and clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.settings import BUILT_IN_AGENTS
from agents.settings.off_policy import OffPolicyConfig
from agents.settings.policy_gradient import PolicyGradientConfig
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from wrappers.vector import MacroAction, SequenceBandit

GRANULARITIES: dict[str, Callable[[Any], Any]] = {
    "token": lambda envs: envs,
    "macro": lambda envs: MacroAction(envs, 2),
    "bandit": SequenceBandit,
}
SAMPLERS: dict[str, dict[str, Any]] = {
    "stale": {"staleness": 1},
    "noise": {"behavior_noise": 0.5},
    "bf16": {"behavior_noise": "bf16"},
    "top-k": {"top_k": 2},
    "top-p": {"top_p": 0.8},
}
CORRECTIONS: dict[str, dict[str, Any]] = {
    "token": {"importance": "token"},
    "sequence": {"importance": "sequence"},
    "geometric": {"importance": "geometric"},
    "truncated": {"importance": "sequence", "importance_cap": 1.05},
    "masked": {"importance": "sequence", "importance_band": (0.95, 1.05)},
    "token masked": {"importance": "token", "importance_band": (0.95, 1.05)},
}
CLIPS: dict[str, dict[str, Any]] = {
    "higher": {"clip_range": 0.1, "clip_range_high": 0.3},
    "dual": {"clip_range": 0.1, "dual_clip": 1.01},
}
NAMES = [
    name
    for name, known in BUILT_IN_AGENTS.items()
    if issubclass(known.config_class, PolicyGradientConfig)
]
OFF_POLICY = [
    name
    for name, known in BUILT_IN_AGENTS.items()
    if issubclass(known.config_class, OffPolicyConfig)
]
CLIPPED = ["ppo", "grpo", "dr_grpo", "dapo", "gspo", "rloo"]


def agent_of(name: str, task: Task, granularity: str = "token", **settings: Any) -> Any:
    known = BUILT_IN_AGENTS[name]
    wrapped = GRANULARITIES[granularity](make_envs(task, 16, kl_coef=0.5))
    # Large steps, so that a sampler of one update ago is another policy.
    steps = {"learning_rate": 0.2, "episodes_per_update": 16, "epochs": 2, "minibatches": 1}
    if name == "trpo":
        steps["max_kl"] = 0.05
    return known.load()(wrapped, **{**known.preset, **steps, **settings})


def trained(agent: Any, updates: int = 3) -> tuple[Tensor, dict[str, float]]:
    metrics: dict[str, float] = {}
    for _ in range(updates):
        metrics = agent.update(agent.collect())
    return torch.cat([p.detach().flatten() for p in agent.policy.model.parameters()]), metrics


@pytest.mark.filterwarnings("ignore:after 4 draws")
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", NAMES)
def test_samplers_and_corrections_are_honored(toy15: Task, name: str, granularity: str) -> None:
    """Each setting changes what is learned; ratios of one decision an episode are all the same."""
    plain, metrics = trained(agent_of(name, toy15, granularity))
    assert "sampler_kl" not in metrics
    for label, settings in SAMPLERS.items():
        weights, _ = trained(agent_of(name, toy15, granularity, **settings))
        assert weights.isfinite().all(), label
        # Rounding to 16 bits may choose the same tokens.
        assert label == "bf16" or not torch.equal(weights, plain), label
    noisy: list[Tensor] = []
    for label, settings in CORRECTIONS.items():
        agent = agent_of(name, toy15, granularity, behavior_noise=0.5, **settings)
        weights, metrics = trained(agent)
        assert weights.isfinite().all(), label
        assert metrics["sampler_kl"] != 0.0, label
        assert (metrics["importance_limited"] > 0) == (label in {"truncated", *MASKED}), label
        noisy.append(weights)
    one_decision = {"token", "sequence", "geometric"} if granularity == "bandit" else set()
    for first, left in enumerate(CORRECTIONS):
        for second, right in list(enumerate(CORRECTIONS))[first + 1 :]:
            is_same = {left, right} <= one_decision or (
                granularity == "bandit" and {left, right} == MASKED
            )
            assert torch.equal(noisy[first], noisy[second]) is is_same, (left, right)


MASKED = {"masked", "token masked"}


@pytest.mark.filterwarnings("ignore:after 4 draws")
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", NAMES)
def test_clips_are_honored_or_refused(toy15: Task, name: str, granularity: str) -> None:
    def made(**settings: Any) -> Any:
        return agent_of(name, toy15, granularity, **{"epochs": 8, **settings})

    if name not in CLIPPED:
        for settings in CLIPS.values():
            with pytest.raises(ValueError, match="has no setting 'clip_range'"):
                made(**settings)
        return
    plain, _ = trained(made(clip_range=0.1, clip_range_high=0.1), 6)
    for label, settings in CLIPS.items():
        clips = {"clip_range_high": 0.1, **settings}
        weights, metrics = trained(made(**clips), 6)
        assert not torch.equal(weights, plain), label
        assert metrics["clip_fraction"] > 0, label


@pytest.mark.parametrize("name", [name for name in BUILT_IN_AGENTS if name not in NAMES])
def test_others_refuse_them(toy15: Task, name: str) -> None:
    known = BUILT_IN_AGENTS[name]
    samplers = [] if name in OFF_POLICY else SAMPLERS.values()
    for settings in (*samplers, *CORRECTIONS.values(), *CLIPS.values()):
        setting = next(iter(settings))
        with pytest.raises(ValueError, match=f"has no setting '{setting}'"):
            known.load()(make_envs(toy15), **known.preset, **settings)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", OFF_POLICY)
def test_agents_of_any_episodes_take_every_sampler(
    toy15: Task, name: str, granularity: str
) -> None:
    plain, _ = trained(agent_of(name, toy15, granularity))
    for label, settings in SAMPLERS.items():
        weights, _ = trained(agent_of(name, toy15, granularity, **settings))
        assert weights.isfinite().all(), label
        assert label == "bf16" or not torch.equal(weights, plain), label


@pytest.mark.filterwarnings("ignore:after 4 draws")
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_agent_goes_on_bit_for_bit(
    toy15: Task, name: str, granularity: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"staleness": 2, "behavior_noise": 0.2, "top_p": 0.9}
    settings |= CORRECTIONS["truncated"]
    if name in CLIPPED:
        settings |= CLIPS["higher"] | CLIPS["dual"]
    whole = agent_of(name, toy15, granularity, **settings)
    trained(whole, 3)
    whole.save(tmp_path / "checkpoint")
    envs = GRANULARITIES[granularity](make_envs(toy15, 16, kl_coef=0.5))
    resumed = type(whole).load(tmp_path / "checkpoint", envs)
    assert resumed.config == whole.config
    (left, row), (right, other) = trained(whole, 2), trained(resumed, 2)
    assert torch.equal(left, right)
    assert row == other
