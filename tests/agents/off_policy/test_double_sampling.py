"""Where the environment answers by chance a path has no residual 0, and its square a variance.

In the game "risk", by enumeration over a table and a value for each state (beta = 0.3): a turn ends
the game with a loss one time in four, else a word is worth two points.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rlhf_env.task import Task
from tests.agents.off_policy.games import (
    Episodes,
    Loss,
    decision_loss,
    field,
    minimum,
    oreo_loss,
    standstill,
    sub_path_loss,
    suffix_loss,
    trajectory_loss,
)
from tests.rlhf_env.exact.test_dialogue_tree import V, echo, higher_or_lower, risk

LOSSES: dict[str, Loss] = {
    "trajectory": trajectory_loss,
    "suffix": suffix_loss,
    "sub-path": sub_path_loss,
}


def reference(of: Episodes) -> torch.Tensor:
    return torch.zeros(len(of.states), V, dtype=torch.float64)


@pytest.mark.parametrize("name", LOSSES)
def test_chance_that_changes_no_value_does_no_harm(name: str) -> None:
    """After either side of the coin there is as much to win."""
    of = Episodes.of(echo(), 0.3)
    table, _, least = minimum(of, LOSSES[name], reference(of))
    assert least == pytest.approx(0.0, abs=1e-12)
    assert of.share_of_optimum(table) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "share", "least"),
    [
        ("trajectory", 0.449084, 1.484891),
        ("suffix", 0.693590, 1.818329),
        ("sub-path", 0.757933, 0.174312),
    ],
)
def test_on_old_episodes_all_of_them_are_biased(name: str, share: float, least: float) -> None:
    """J/J* where the expected loss over the reference's episodes is least."""
    of = Episodes.of(risk(), 0.3)
    table, _, found = minimum(of, LOSSES[name], reference(of))
    assert found == pytest.approx(least, abs=1e-6)
    assert of.share_of_optimum(table) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "norm"), [("trajectory", 0.0), ("suffix", 0.0), ("sub-path", 1.107964)]
)
def test_on_their_own_episodes_those_to_the_end_are_not(name: str, norm: float) -> None:
    """The expected gradient at (pi*, V*): no value behind a path is trained there.

    On-policy the rest is the policy gradient, and a value is a mean over what may follow.
    """
    of = Episodes.of(risk(), 0.3)
    best, values = of.optimum
    found = field(of, LOSSES[name], best, best, values)
    assert found.norm().item() == pytest.approx(norm, abs=1e-6)


def test_a_mean_over_the_decisions_of_an_episode_would_be_biased_too() -> None:
    """An episode that the environment cuts short would weigh more."""
    of = Episodes.of(risk(), 0.3)

    def mean(of: Episodes, table: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return suffix_loss(of, table, values) / of.mask.sum(dim=1)

    best, values = of.optimum
    assert field(of, mean, best, best, values).norm() > 1
    table, _, _ = minimum(of, mean, reference(of))
    assert of.share_of_optimum(table) == pytest.approx(0.307182, abs=1e-6)


@pytest.mark.parametrize("loss", [oreo_loss(), decision_loss], ids=["oreo", "soft-q"])
@pytest.mark.parametrize("game", [risk, echo, higher_or_lower])
def test_a_regression_on_what_follows_stands_still_at_the_optimum(
    game: Callable[[], Task], loss: Loss
) -> None:
    """Whoever sampled: no gradient goes through what later tokens and answers turned out to be."""
    of = Episodes.of(game(), 0.3)
    best, values = of.optimum
    generator = torch.Generator().manual_seed(0)
    anybody = torch.randn(best.shape, generator=generator, dtype=best.dtype)
    for behavior in (best, reference(of), anybody):
        assert field(of, loss, behavior, best, values).norm() < 1e-12


@pytest.mark.parametrize("loss", [oreo_loss(), decision_loss], ids=["oreo", "soft-q"])
def test_it_stands_still_nowhere_else(loss: Loss) -> None:
    of = Episodes.of(risk(), 0.3)
    table = standstill(of, loss, reference(of))
    assert of.share_of_optimum(table) == pytest.approx(1.0, abs=1e-9)


def test_the_mean_of_oreos_authors_is_biased() -> None:
    """On old episodes as on its own: a turn that ends the game counts twice one that goes on.

    One time in four against 3/8 is as if it ended two times in five, whose optimum by hand is worth
    0.888820 of J* in the game itself.
    """
    of = Episodes.of(risk(), 0.3)
    loss = oreo_loss(aggregation="episode_mean")
    best, values = of.optimum
    assert field(of, loss, best, best, values).norm().item() == pytest.approx(0.392047, abs=1e-6)
    table = standstill(of, loss, reference(of))
    assert of.share_of_optimum(table) == pytest.approx(0.888820, abs=1e-6)


def test_a_value_of_the_prompt_from_whole_responses_takes_chance_for_a_choice() -> None:
    """beta log E_ref exp(R/beta), that of A*-PO: the answers are not tilted by what they pay."""
    of = Episodes.of(risk(), 0.3)
    weights = of.probabilities(reference(of))
    value = 0.3 * (weights.log() + of.rewards.sum(dim=1) / 0.3).logsumexp(dim=0)
    assert value.item() == pytest.approx(0.959540, abs=1e-6)
    assert of.optimum[1][0].item() == pytest.approx(0.462523, abs=1e-6)

    def fixed(of: Episodes, table: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return trajectory_loss(of, table, value + 0.0 * values)

    table, _, _ = minimum(of, fixed, reference(of))
    assert of.share_of_optimum(table) == pytest.approx(0.938643, abs=1e-6)
