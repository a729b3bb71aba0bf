"""Gradient steps: independent of the split, refused when they are not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import agents.training.learner
from agents import GRPO, PPO, Agent
from rlhf_env.engine.language_model import length_batches
from rlhf_env.rollout import Rollout
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2, tiny_gpt2_task


def agent_of(kind: type[Agent], task: Any = None, **settings: Any) -> Agent:
    task = task or tiny_gpt2_task()
    model = tiny_gpt2(seed=1, dropout=task.reference.config.resid_pdrop)
    defaults = {"episodes_per_update": 16, "epochs": 1, "minibatches": 1}
    return kind(make_envs(task, 8), policy=model, **{**defaults, **settings})


def gradients(agent: Agent, rollout: Rollout) -> list[Tensor]:
    agent.update(rollout)
    return [p.grad for p in agent.policy.parameters() if p.grad is not None]


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("budget", [1, 20, 50])
def test_the_gradient_does_not_depend_on_the_micro_batches(
    kind: type[Agent], budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traps E2 and E20: whole rollout against batches of one and of a few episodes."""
    settings = {"learning_rate": 0.0, "max_grad_norm": 0.1, "entropy_coef": 0.1}
    agent = agent_of(kind, **settings)
    rollout = agent.collect()
    whole = gradients(agent, rollout)
    monkeypatch.setattr(
        agents.training.learner,
        "length_batches",
        lambda is_action: length_batches(is_action, budget),
    )
    split = gradients(agent_of(kind, **settings), rollout)
    for one, many in zip(whole, split, strict=True):
        assert torch.allclose(one, many, atol=1e-6)
    norm = torch.stack([gradient.norm() for gradient in split]).norm().item()
    assert norm == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_the_gradient_does_not_depend_on_the_order_of_rows(kind: type[Agent]) -> None:
    agent = agent_of(kind, learning_rate=0.0)
    rollout = agent.collect()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = agents.training.learner.take_rows(rollout, order)
    found = zip(
        gradients(agent, rollout),
        gradients(agent_of(kind, learning_rate=0.0), shuffled),
        strict=True,
    )
    for one, other in found:
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_without_learning_rate_nothing_moves(
    kind: type[Agent], temperature: float, dropout: float
) -> None:
    """Traps K1, A1 and A4: ratio 1 from first to last step, and no weight changes."""
    agent = agent_of(
        kind,
        tiny_gpt2_task(dropout=dropout),
        learning_rate=0.0,
        temperature=temperature,
        epochs=2,
        minibatches=4,
    )
    before = [p.clone() for p in agent.policy.parameters()]
    rollout = agent.collect()
    recomputed = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    assert (recomputed - rollout.logprobs).abs().max() < 1e-5
    metrics = agent.update(rollout)
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-6)
    assert metrics["clip_fraction"] == 0.0
    assert metrics["optimizer_steps"] == 8.0
    assert metrics["approx_kl"] < 1e-10
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)


def test_every_episode_is_visited_once_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap E22."""
    agent = agent_of(PPO, epochs=3, minibatches=4)
    seen: list[list[int]] = []

    def add(rollout: Rollout, old: Any, targets: Any, rows: Tensor, _: Any) -> dict[str, Tensor]:
        seen.append(rows.tolist())
        return {}

    monkeypatch.setattr(agent.learner, "_add_gradients", add)
    monkeypatch.setattr(agent.learner, "_take_step", lambda: 0.0)
    rollout = agent.collect()
    agent.learner.update(rollout, None, None, np.random.default_rng(0))  # type: ignore[arg-type]
    assert [len(rows) for rows in seen] == [4] * 12
    orders = [[row for rows in seen[at : at + 4] for row in rows] for at in (0, 4, 8)]
    assert [sorted(order) for order in orders] == [list(range(16))] * 3
    assert orders[0] != orders[1]


def test_a_gradient_that_is_no_number_stops_before_the_step() -> None:
    agent = agent_of(PPO)
    rollout = agent.collect()
    before = [p.clone() for p in agent.policy.parameters()]
    spoilt = rollout.with_term("score", torch.full_like(rollout.rewards, math.nan))
    with pytest.raises(
        ValueError, match=r"the loss of episode \d+ is nan.* its rewards are not finite"
    ):
        agent.update(spoilt)
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)
    assert agent.updates == 0
    assert agent.update(rollout)["gradient_norm"] > 0


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_the_reference_stays_as_it_is(kind: type[Agent]) -> None:
    """Trap A15."""
    task = tiny_gpt2_task()
    agent = kind(make_envs(task, 8), episodes_per_update=16)
    reference = list(task.reference.parameters())
    before = [p.clone() for p in reference]
    own = {id(p) for p in agent.policy.parameters()}
    pointers = {p.data_ptr() for p in agent.policy.parameters()}
    assert not own & {id(p) for p in reference}
    assert not pointers & {p.data_ptr() for p in reference}
    agent.learn(48, progress=False)
    for old, new in zip(before, reference, strict=True):
        assert torch.equal(old, new)
        assert new.grad is None
    pairs = zip(reference, agent.policy.model.parameters(), strict=True)
    assert not all(torch.equal(old, new) for old, new in pairs)


def test_equal_rewards_leave_a_group_agent_where_it_is() -> None:
    """Trap E12."""
    agent = agent_of(GRPO, kl_coef=0.0)
    rollout = agent.collect()
    before = [p.clone() for p in agent.policy.parameters()]
    agent.update(rollout.with_term("score", rollout.last_action.float()))
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_group_agent_refuses_truncated_episodes() -> None:
    envs = make_envs(tiny_gpt2_task(), 8, length_limit="bootstrap")
    agent = GRPO(envs, episodes_per_update=16)
    with pytest.raises(ValueError, match="GRPO has no critic to bootstrap from"):
        agent.learn(16, progress=False)


@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
def test_what_is_learned_from_is_the_kl_penalized_reward(kl_penalty: str) -> None:
    """The agent closes the KL where the environment leaves it open, and nowhere else."""
    agent = PPO(
        make_envs(tiny_gpt2_task(), 8, kl_penalty=kl_penalty),
        policy=tiny_gpt2(seed=1),
        episodes_per_update=16,
    )
    rollout = agent.collect()
    expected = rollout.score - 0.1 * (rollout.logprobs - rollout.ref_logprobs).sum(dim=1)
    assert agent.update(rollout)["return"] == pytest.approx(expected.mean().item(), abs=1e-5)


@pytest.mark.parametrize("learning_rate", [1e38, 4e37])
def test_a_step_that_could_overflow_is_not_taken(learning_rate: float) -> None:
    agent = agent_of(PPO, learning_rate=learning_rate)
    before = [p.clone() for p in agent.policy.parameters()]
    with pytest.raises(ValueError, match=r"could leave weights that are not finite.*unchanged"):
        agent.update(agent.collect())
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)
    assert not agent.learner.optimizer.state


def test_a_gradient_whose_square_overflows_is_not_used() -> None:
    agent = agent_of(PPO, max_grad_norm=1e30)
    for parameter in agent.learner.parameters:
        parameter.grad = torch.zeros_like(parameter)
    agent.learner.parameters[0].grad.view(-1)[0] = 2e19  # type: ignore[union-attr]
    before = [p.clone() for p in agent.policy.parameters()]
    with pytest.raises(ValueError, match=r"(norm 2e\+19|norm is inf).*the weights are unchanged"):
        agent.learner._take_step()
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)


def test_an_epsilon_of_zero_divides_by_zero_and_is_refused() -> None:
    with pytest.raises(ValueError, match="adam_epsilon must be"):
        agent_of(PPO, adam_epsilon=0.0)
