"""Dr. GRPO, DAPO and GSPO: how episodes are averaged, sampled and compared."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import DAPO, GRPO, GSPO, Agent, DrGRPO
from agents.algorithms.group_advantages import are_equal
from agents.algorithms.grpo import GRPOAlgorithm, GRPOConfig
from agents.algorithms.surrogate import DecisionBatch, surrogate_loss
from agents.math.aggregation import mean_over_decisions
from agents.policy import PolicyOutput
from agents.settings.clip import Clip
from rlhf_env.rollout import Rollout
from rlhf_env.tasks import load_task, table_task
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.agents.runs import assert_equal, weights
from tests.toys import tiny_gpt2_task


def two_responses() -> tuple[Rollout, PolicyOutput]:
    """Responses of 2 and of 8 tokens to one prompt, and a policy that says 0 of everything."""
    lengths = torch.tensor([2, 8])
    columns = torch.arange(9)
    is_action = (columns >= 1) & (columns <= lengths[:, None])
    nothing, none = torch.zeros(2, 9), torch.zeros(2)
    rollout = Rollout(
        tokens=torch.ones(2, 9, dtype=torch.int64),
        is_action=is_action,
        logprobs=nothing,
        ref_logprobs=nothing,
        rewards=nothing,
        reward_terms={"score": nothing, "kl": nothing},
        score=none,
        terminated=torch.tensor([True, True]),
        group=torch.tensor([0, 0]),
        prompt_index=torch.tensor([0, 0]),
        decision=torch.where(is_action, columns - 1, -1),
    )
    said = PolicyOutput(
        logprobs=nothing,
        entropy=nothing,
        values=nothing,
        last_values=none,
        term_values={"return": nothing},
        last_term_values={"return": none},
    )
    return rollout, said


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("decision_mean", 3.4), ("episode_mean", 2.5), ("constant", 1.7)],
)
def test_three_means_of_the_same_losses(aggregation: str, expected: float) -> None:
    """Trap E1: losses 1 and 1, and eight of 4, at a horizon of 10."""
    rollout, said = two_responses()
    rule = GRPOAlgorithm(
        config=GRPOConfig(aggregation=aggregation, scale_by_std=False), horizon=10, eos_id=0
    )
    targets = rule.targets(rollout, said, None)  # type: ignore[arg-type]
    advantages = torch.tensor([[-1.0], [-4.0]]).expand(2, 8)
    losses, _ = rule.loss(rollout, said, said, dataclasses.replace(targets, advantages=advantages))
    assert losses.mean().item() == pytest.approx(expected, abs=1e-6)


def test_named_settings() -> None:
    envs = make_envs(load_task("toy15"))
    assert DrGRPO(envs).config.aggregation == "constant"
    assert not DrGRPO(envs).config.scale_by_std
    assert DAPO(envs).config.clip_range_high == 0.28
    assert DAPO(envs).config.dynamic_sampling
    assert GSPO(envs).config.ratio == "episode"
    assert GSPO(envs, clip_range=0.1).config.clip_range == 0.1


def surrogate(log_ratio: list[float], high: float, ratio: str = "decision") -> tuple[Tensor, Any]:
    new = torch.tensor([log_ratio], dtype=torch.float64)
    mask = torch.ones(new.shape, dtype=torch.bool)
    targets = DecisionBatch(
        advantages=torch.ones_like(new),
        logprobs=torch.zeros_like(new),
        ref_logprobs=torch.zeros_like(new),
        kl_coef=torch.zeros(1),
        mask=mask,
        weight=mean_over_decisions(mask),
        mean_weight=mean_over_decisions(mask),
    )
    return surrogate_loss(new, targets, Clip(0.2, high), ratio=ratio)


def test_the_ratio_of_a_whole_response() -> None:
    """Trap E15: log-ratios of 0.1 and 0.1 make 1.105171 as a mean; other two, the same mean."""
    for log_ratio in ([0.1, 0.1], [0.3, -0.1]):
        _, metrics = surrogate(log_ratio, 0.2, "episode")
        assert metrics["ratio_max"].item() == pytest.approx(1.105171, abs=1e-6)
    _, metrics = surrogate([0.2], 0.3, "episode")
    assert metrics["ratio_max"].item() == pytest.approx(1.221403, abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "high", "loss", "clipped"),
    [(1.25, 0.28, -1.25, 0.0), (1.25, 0.2, -1.2, 1.0), (1.5, 0.28, -1.28, 1.0)],
)
def test_a_higher_clip_above(ratio: float, high: float, loss: float, clipped: float) -> None:
    found, metrics = surrogate([torch.tensor(ratio).double().log().item()], high)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert metrics["clip_fraction"].item() == clipped


def count_draws(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    drawn, draw = [], agent.resample

    def counted(number: int) -> Rollout:
        drawn.append(number)
        return draw(number)

    monkeypatch.setattr(agent, "resample", counted)
    return drawn


def test_dynamic_sampling_stops_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap E12: a reward that tells nothing apart."""
    task = table_task(3, 2, lambda prefix: [0.0, 0.0, 0.0], lambda tokens: 1.0)
    agent = DAPO(make_envs(task, 8), episodes_per_update=16, max_draws=3, kl_coef=0.0)
    drawn, before = count_draws(agent, monkeypatch), weights(agent)
    with pytest.warns(UserWarning, match="after 3 draws 2 of 2 groups still have equal scores"):
        rollout = agent.collect()
    assert drawn == [0, 1, 2]
    assert len(rollout) == 16
    assert agent.update(rollout)["frac_reward_zero_std"] == 1.0
    assert_equal(before, weights(agent))


def test_dynamic_sampling_keeps_groups_that_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap E12: one response in eight is paid, so pairs often have equal scores."""
    task = table_task(2, 3, lambda prefix: [0.0, 0.0], lambda tokens: float(tokens == (1, 1, 1)))
    agent = DAPO(make_envs(task, 8), episodes_per_update=8, group_size=2, max_draws=50)
    drawn = count_draws(agent, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout = agent.collect()
    assert len(drawn) > 1
    assert len(rollout) == 8
    assert rollout.group.unique(return_counts=True)[1].tolist() == [2] * 4
    assert not are_equal(rollout.score, rollout.group).any()
    plain = GRPO(make_envs(task, 8), episodes_per_update=8, group_size=2).collect()
    assert are_equal(plain.score, plain.group).any()


@pytest.mark.parametrize("kind", [GRPO, DrGRPO, GSPO])
def test_nothing_is_learned_where_all_is_unfinished(kind: type[Agent]) -> None:
    """Trap E16."""
    agent = kind(make_envs(load_task("toy15"), 16), skip_unfinished=True, kl_coef=0.0)
    episodes = every_toy15_episode(agent)
    unfinished = episodes.take(torch.tensor([7, 8, 9, 10]))  # Three tokens without EOS.
    before = weights(agent)
    with pytest.warns(UserWarning, match="no response of this rollout is finished"):
        metrics = agent.update(unfinished)
    assert metrics["policy_loss"] == 0.0
    assert metrics["gradient_norm"] == 0.0
    assert_equal(before, weights(agent))


def test_only_finished_responses_weigh() -> None:
    agent = GRPO(make_envs(load_task("toy15"), 16), skip_unfinished=True)
    episodes = every_toy15_episode(agent).take(torch.tensor([0, 3, 7, 8]))
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    targets = agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
    # One decision and three in the first two; four episodes over four decisions.
    assert targets.weight.tolist() == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", [DrGRPO, DAPO, GSPO])
def test_they_run(kind: type[Agent]) -> None:
    agent = kind(make_envs(tiny_gpt2_task(), 8), episodes_per_update=16, epochs=2)
    metrics = agent.learn(16, progress=False)[0]
    assert metrics["gradient_norm"] > 0
    assert metrics["ratio_max"] > 1
