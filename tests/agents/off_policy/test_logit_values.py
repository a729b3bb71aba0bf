"""SoftQ and ILQL: Q as logits, what is aimed at, the target network, and where they stand still."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agents.off_policy.ilql import ILQL
from agents.off_policy.soft_q import SoftQ
from rlhf_env.exact import solve
from tests.agents.episodes import as_bandit
from tests.agents.off_policy.optimum import every_episode, loss_and_slope, toy_agent


def place_q_at_optimum(agent: Any, kl_coef: float = 0.5) -> None:
    """Logits z_ref + Q*/beta, in the policy and in its target network."""
    best = solve(agent.base.task, kl_coef, agent.config.gamma)
    (reference,) = agent.base.task.reference.parameters()
    (table,) = agent.policy.model.parameters()
    policy = torch.tensor([best.policy[p] for p in best.policy]).T
    soft = torch.tensor(list(best.values.values())) / kl_coef
    with torch.no_grad():
        ref = reference.double().log_softmax(dim=0)
        table.copy_(policy.log() - ref + soft + reference)
    agent.target.follow(agent.policy, 1.0)


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_soft_q_stands_still_at_the_optimum(gamma: float) -> None:
    agent = toy_agent(SoftQ, gamma=gamma)
    place_q_at_optimum(agent)
    loss, slope = loss_and_slope(agent, every_episode(agent))
    assert (loss, slope) == (pytest.approx(0.0, abs=1e-10), pytest.approx(0.0, abs=1e-5))


def test_soft_q_of_whole_responses() -> None:
    """A response as one decision: Q* of it is its score."""
    agent = toy_agent(SoftQ)
    place_q_at_optimum(agent)
    loss, slope = loss_and_slope(agent, as_bandit(every_episode(agent)))
    assert (loss, slope) == (pytest.approx(0.0, abs=1e-10), pytest.approx(0.0, abs=1e-5))


@pytest.mark.parametrize("kind", [SoftQ, ILQL])
def test_values_begin_at_zero(kind: Any) -> None:
    """Each Q is 0, so that all that is missed are the rewards at the ends."""
    agent = toy_agent(kind, **({"conservative_coef": 0.0} if kind is ILQL else {}))
    episodes = every_episode(agent)
    expected = episodes.score.square().sum() / episodes.is_action.sum()
    assert loss_and_slope(agent, episodes)[0] == pytest.approx(float(expected), abs=1e-5)


def test_the_soft_value_is_that_of_the_logits() -> None:
    agent = toy_agent(SoftQ)
    place_q_at_optimum(agent)
    episodes = every_episode(agent)
    targets = agent.learner.algorithm.targets(
        episodes, agent.policy.sampler_only(episodes), agent.base.mdp.reference
    )
    values = targets.values_by(episodes, agent.target.lm, 1.0)
    assert float(values.soft[0, 0]) == pytest.approx(
        solve(agent.base.task, 0.5).values[()], abs=1e-5
    )


def test_the_temperature_is_in_both_models() -> None:
    agent = toy_agent(SoftQ, temperature=2.0)
    assert loss_and_slope(agent, every_episode(agent))[0] > 0
    first, second = every_episode(agent), every_episode(agent)
    targets = agent.learner.algorithm.targets(
        first, agent.policy.sampler_only(first), agent.base.mdp.reference
    )
    new = agent.policy.evaluate_tokens(second.tokens, second.is_action)
    assert targets.values_of(second, new).q.abs().max() < 1e-5


def test_ilql_values_its_data() -> None:
    """With expectile 1/2 and one step, V of the state is the mean Q of the tokens there."""
    agent = toy_agent(
        ILQL,
        expectile=0.5,
        conservative_coef=0.0,
        target_rate=1.0,
        learning_rate=0.05,
        max_grad_norm=1e6,
    )
    episodes = as_bandit(every_episode(agent))
    for _ in range(400):
        agent.update(episodes)
    found = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action).values
    assert float(found[0, 1]) == pytest.approx(float(episodes.score.mean()), abs=0.02)


def test_the_conservative_term_is_the_log_ratio_of_the_data() -> None:
    agent = toy_agent(ILQL, conservative_coef=1.0)
    place_q_at_optimum(agent)
    episodes = every_episode(agent)
    targets = agent.learner.algorithm.targets(
        episodes, agent.policy.sampler_only(episodes), agent.base.mdp.reference
    )
    new = agent.policy.evaluate_tokens(episodes.tokens, episodes.is_action)
    _, parts = agent.learner.algorithm.loss(episodes, new, new, targets)
    log_ratio = (new.logprobs - episodes.ref_logprobs)[episodes.is_action].detach().mean()
    found = parts["conservative_loss"].detach().mean()
    assert float(found) == pytest.approx(-float(log_ratio), abs=1e-5)


@pytest.mark.parametrize(("rate", "moved"), [(1.0, 1.0), (0.25, 0.25)])
def test_the_target_follows_by_its_rate(rate: float, moved: float) -> None:
    agent = toy_agent(SoftQ, target_rate=rate, episodes_per_update=16)
    before = [p.clone() for p in agent.target.lm.model.parameters()]
    agent.update(agent.collect())
    triples = zip(
        before, agent.target.lm.model.parameters(), agent.policy.model.parameters(), strict=True
    )
    for old, target, new in triples:
        assert torch.allclose(target, old + moved * (new - old), atol=1e-7)
        assert not torch.equal(old, new)


@pytest.mark.parametrize("kind", [SoftQ, ILQL])
def test_a_resumed_run_is_bit_equal(kind: Any, tmp_path: Path) -> None:
    agent = toy_agent(kind, episodes_per_update=16, learning_rate=0.05)
    for _ in range(3):
        agent.update(agent.collect())
    agent.save(tmp_path / "half")
    again = kind.load(tmp_path / "half", agent.envs)
    for each in (agent, again):
        for _ in range(3):
            each.update(each.collect())
    models = (
        {**agent.further_models, "policy": agent.policy},
        {
            **again.further_models,
            "policy": again.policy,
        },
    )
    for name, model in models[0].items():
        pairs = zip(model.parameters(), models[1][name].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="target_rate must be"):
        toy_agent(SoftQ, target_rate=rate)


def test_an_expectile_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="expectile must be"):
        toy_agent(ILQL, expectile=1.0)
