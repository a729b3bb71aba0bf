"""A*-PO: the value of a prompt, the loss by hand, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.off_policy.a_star_po import AStarPO, AStarPOAlgorithm
from agents.off_policy.optimal_value import optimal_value, optimal_value_bias
from rlhf_env.exact import solve
from tests.agents.off_policy.optimum import (
    every_episode,
    loss_and_slope,
    place_at_optimum,
    toy_agent,
)
from tests.agents.off_policy.test_optimal_value import reference_responses


def exact_agent(**settings: float) -> AStarPO:
    """An agent that knows V*(x)."""
    agent = toy_agent(AStarPO, **settings)
    value = solve(agent.base.task, 0.5).values[()]
    agent.learner.algorithm = AStarPOAlgorithm(
        agent.config, lambda rollout: torch.full((len(rollout), 3), value)
    )
    return agent


def test_nothing_moves_at_the_optimum() -> None:
    agent = exact_agent()
    place_at_optimum(agent)
    loss, slope = loss_and_slope(agent, every_episode(agent))
    assert (loss, slope) == (pytest.approx(0.0, abs=1e-10), pytest.approx(0.0, abs=1e-5))


def test_the_loss_of_a_response_by_hand() -> None:
    """At pi_ref the log-ratio is 0, and (r − V*)² is left."""
    agent = exact_agent()
    episodes = every_episode(agent)
    value = solve(agent.base.task, 0.5).values[()]
    expected = (episodes.score - value).square().mean()
    assert loss_and_slope(agent, episodes)[0] == pytest.approx(float(expected), abs=1e-5)


def test_two_coefficients() -> None:
    """beta_1 is of V* alone: the value of one sample is that sample's, whatever beta_1 is."""
    agent = toy_agent(AStarPO, value_kl_coef=2.0, value_samples=1, seed=5)
    episodes = every_episode(agent)
    paid = agent.reference_returns(episodes)[0, 0]
    expected = (episodes.score - paid).square().mean()
    assert loss_and_slope(agent, episodes)[0] == pytest.approx(float(expected), abs=1e-5)


def test_the_reference_answers_once_and_the_same_under_one_seed() -> None:
    agent, again, other = (toy_agent(AStarPO, value_samples=64, seed=s) for s in (1, 1, 2))
    episodes = every_episode(agent)
    found = agent.reference_returns(episodes)
    assert found.shape == (len(episodes), 64)
    assert torch.equal(found, agent.reference_returns(episodes))
    assert torch.equal(found, again.reference_returns(episodes))
    assert not torch.equal(found, other.reference_returns(episodes))


def test_estimates_are_low_by_the_enumerated_bias() -> None:
    """512 estimates of 4 samples each; the tolerance is four standard errors."""
    agent = toy_agent(AStarPO, value_samples=2048, seed=3)
    episode = every_episode(agent).take(torch.tensor([0]))
    drawn = agent.reference_returns(episode)[0].double().reshape(512, 4)
    found = optimal_value(drawn, 0.5).numpy() - solve(agent.base.task, 0.5).values[()]
    bias = optimal_value_bias(*reference_responses(), 0.5, 4)
    assert bias < -0.05
    assert found.mean() == pytest.approx(bias, abs=4 * found.std() / np.sqrt(512))


def test_a_discount_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gamma must be 1.*got 0\.9"):
        toy_agent(AStarPO, gamma=0.9)


def test_truncated_episodes_are_refused() -> None:
    agent = exact_agent()
    episodes = every_episode(agent)
    cut = episodes.replace(terminated=torch.zeros(len(episodes), dtype=torch.bool))
    with pytest.raises(ValueError, match=r"AStarPO needs whole episodes.*got truncated episodes"):
        loss_and_slope(agent, cut)
