"""OREO: zero loss and gradient at the optimum, whoever sampled; what each loss moves."""

from __future__ import annotations

import pytest
import torch

from agents.off_policy.oreo import OREO
from tests.agents.episodes import as_bandit
from tests.agents.off_policy.optimum import (
    every_episode,
    loss_and_slope,
    place_at_optimum,
    toy_agent,
)


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_nothing_moves_at_the_optimum(gamma: float) -> None:
    agent = toy_agent(OREO, gamma=gamma)
    place_at_optimum(agent)
    loss, slope = loss_and_slope(agent, every_episode(agent))
    assert loss == pytest.approx(0.0, abs=1e-10)
    assert slope == pytest.approx(0.0, abs=1e-5)


def test_nothing_moves_at_the_optimum_of_whole_responses() -> None:
    agent = toy_agent(OREO)
    place_at_optimum(agent)
    loss, slope = loss_and_slope(agent, as_bandit(every_episode(agent)))
    assert (loss, slope) == (pytest.approx(0.0, abs=1e-10), pytest.approx(0.0, abs=1e-5))


def test_the_coefficient_is_each_episodes_own() -> None:
    """At the optimum of beta 0.7, episodes paid under 0.7 are explained in an agent of 0.5."""
    agent = toy_agent(OREO)
    place_at_optimum(agent, 0.7)
    episodes = every_episode(agent)
    assert loss_and_slope(agent, episodes)[0] > 1e-3
    steered = episodes.replace(kl_coef=torch.full((len(episodes),), 0.7))
    assert loss_and_slope(agent, steered)[0] == pytest.approx(0.0, abs=1e-10)


def test_what_the_sampler_paid_for_its_kl_is_not_read() -> None:
    agent = toy_agent(OREO)
    episodes = every_episode(agent)
    stale = episodes.with_term("kl", torch.full(episodes.tokens.shape, 9.0))
    assert loss_and_slope(agent, stale) == loss_and_slope(agent, episodes)


def test_the_authors_regularizer_moves_the_optimum() -> None:
    agent = toy_agent(OREO, kl_reg=0.01)
    place_at_optimum(agent)
    assert loss_and_slope(agent, every_episode(agent))[1] > 1e-4


@pytest.mark.parametrize(("aggregation", "counts"), [("sum", 2.0), ("episode_mean", 1.0)])
def test_a_response_by_hand(aggregation: str, counts: float) -> None:
    """(1, 0) is paid 1.25; pi = pi_ref, V = 0, so both residuals are −1.25 at both decisions."""
    agent = toy_agent(OREO, value_coef=0.5, aggregation=aggregation)
    every = every_episode(agent)
    rows = [i for i, said in enumerate(every.responses()) if said.tolist() == [1, 0]]
    episode = every.take(torch.tensor(rows[:1]))
    assert loss_and_slope(agent, episode)[0] == pytest.approx(counts * 1.5 * 1.25**2, abs=1e-5)


def test_lengths_weigh_as_the_aggregation_says() -> None:
    """A response of one token beside one of two: 1.5 decisions of an episode are the mean."""
    agent = toy_agent(OREO, aggregation="decision_mean")
    every = every_episode(agent)
    lengths = every.is_action.sum(dim=1).tolist()
    short, long = lengths.index(1), lengths.index(2)
    both = every.take(torch.tensor([short, long]))
    found, _ = loss_and_slope(agent, both)
    agent = toy_agent(OREO)
    assert found == pytest.approx(loss_and_slope(agent, both)[0] / 1.5)


def test_an_aggregation_that_needs_the_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match="aggregation must be one of"):
        toy_agent(OREO, aggregation="constant")


@pytest.mark.parametrize("name", ["kl_reg", "value_coef"])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        toy_agent(OREO, **{name: -0.1})
