"""First steps and whole trainings on "toy15" with population data, and the same pairs twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from agents.preference.losses import dpo, dro
from rlhf_env.rewards.bradley_terry import bradley_terry_loss
from rlhf_env.task import Task
from tests.agents.preference.test_toy15_fixed_points import (
    dro_loss,
    kto_loss,
    rankings_of_three,
)
from tests.agents.preference.toy15_population import (
    BEST,
    FIRST,
    P_FIRST,
    REF,
    REF_LOGPROBS,
    REFERENCE,
    SECOND,
    WINS,
    Loss,
    all_sides,
    better_length,
    forward_kl_by_state,
    list_loss,
    logprobs,
    minimizer,
    objective,
    pair_loss,
    slope,
    tilted,
)
from tests.rlhf_env.toy15_tables import SCORES
from tests.toys import theta_policy

DPO = pair_loss("dpo", beta=0.5)


def of_reference(value: Loss) -> Tensor:
    return slope(value, REFERENCE).flatten()


def test_dpo_begins_towards_winning() -> None:
    """Its slope is that of P(π beats π_ref), and nearly that of E[r]."""
    step = -of_reference(DPO)
    winning = of_reference(lambda table: logprobs(table).exp() @ WINS @ REF)
    reward = of_reference(lambda table: logprobs(table).exp() @ SCORES)
    assert winning.norm().item() == pytest.approx(0.072404, abs=1e-6)
    assert (step.norm() / winning.norm()).item() == pytest.approx(1.424275, abs=1e-6)
    assert cosine_similarity(step, winning, dim=0).item() == pytest.approx(1.0, abs=1e-9)
    assert cosine_similarity(step, reward, dim=0).item() == pytest.approx(0.998463, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("hinge", 2), ("ipo", 8), ("sppo", 8), ("bco", 1), ("apo_zero", 0.5), ("nca", 0.5)],
)
def test_first_steps_are_multiples_of_dpo(name: str, factor: float) -> None:
    found = of_reference(pair_loss(name, beta=0.5))
    assert (found - factor * of_reference(DPO)).abs().max().item() < 1e-9


def test_first_steps_of_kto_and_of_apo_down() -> None:
    dpo = of_reference(DPO)
    assert (of_reference(kto_loss) - dpo / 4).abs().max().item() < 1e-9
    down = of_reference(pair_loss("apo_down", beta=0.5))
    assert cosine_similarity(down, dpo, dim=0).item() == pytest.approx(0.888351, abs=1e-6)
    assert (down.norm() / dpo.norm()).item() == pytest.approx(0.415424, abs=1e-6)


def test_dpo_by_gradient_descent() -> None:
    """Full batch, rate 8: J/J* 0.9888 after 300 steps, 0.9999 after 1,000."""
    table, found = REFERENCE, {}
    for step in range(1, 1001):
        table = table - 8 * slope(DPO, table)
        if step in (300, 1000):
            found[step] = objective(table) / BEST
    assert found[300] == pytest.approx(0.9888, abs=1e-4)
    assert found[1000] == pytest.approx(0.9999, abs=1e-4)


def test_dpo_by_adam() -> None:
    """Rate 0.1: J/J* 0.9998 after 100 steps."""
    table = REFERENCE.clone().requires_grad_()
    optimizer = torch.optim.Adam([table], lr=0.1)
    for _ in range(100):
        table.grad = slope(DPO, table.detach())
        optimizer.step()
    assert objective(table.detach()) / BEST == pytest.approx(0.9998, abs=1e-4)


FLIPPED = P_FIRST + 0.1 * (1 - 2 * P_FIRST)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(pair_loss("robust", FLIPPED, beta=0.5), id="robust"),
        pytest.param(pair_loss("rpo", beta=0.5), id="rpo"),
        pytest.param(list_loss("plackett_luce", *rankings_of_three(), beta=0.5), id="lists"),
        pytest.param(dro_loss(BEST), id="dro"),
    ],
)
def test_others_that_reach_the_optimum(loss: Loss) -> None:
    assert objective(minimizer(loss)) / BEST >= 0.999


def test_dro_learns_its_value_too() -> None:
    """One square for both; V of a policy is the mean of what the square leaves."""

    def value(table: Tensor) -> Tensor:
        return REF @ (SCORES - 0.5 * (logprobs(table) - REF_LOGPROBS))

    def loss(table: Tensor) -> Tensor:
        log_ratios = logprobs(table) - REF_LOGPROBS
        return REF @ dro(log_ratios, SCORES, beta=0.5, values=value(table))

    end = minimizer(loss)
    assert value(end).item() == pytest.approx(BEST, abs=1e-6)
    assert objective(end) / BEST >= 0.999


def test_the_theta_policy(toy15: Task) -> None:
    theta = next(theta_policy(toy15).parameters()).detach().double()
    tokens = {"nll_length": better_length()}
    losses: list[tuple[str, dict[str, Any], float]] = [
        ("dpo", {"beta": 0.5}, 0.671706),
        ("ipo", {"beta": 0.5}, 0.882157),
        ("tdpo1", {"beta": 0.5}, 0.671754),
        ("tdpo2", {"beta": 0.5}, 0.671729),
        ("simpo", {"beta": 2.0, "simpo_gamma": 0.5}, 1.232578),
        ("orpo", {"beta": 0.1, **tokens}, 1.172852),
    ]
    for name, options, expected in losses:
        assert pair_loss(name, **options)(theta).item() == pytest.approx(expected, abs=1e-6)
    assert kto_loss(theta).item() == pytest.approx(0.494089, abs=1e-6)
    assert slope(DPO, theta).norm().item() == pytest.approx(0.093993, abs=1e-6)
    field = slope(pair_loss("tdpo2", beta=0.5), theta)
    assert field.norm().item() == pytest.approx(0.085971, abs=1e-6)
    assert forward_kl_by_state(theta).tolist() == pytest.approx(
        [0.005353, 0.011354, 0.010017, 0.004066, 0.012754, 0.011845, 0.002397], abs=1e-6
    )


def test_dpo_is_a_fitted_reward_and_its_exact_optimum() -> None:
    """On the same 20,000 pairs: maximum likelihood of a policy or of a table of 15 scores."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(REF[FIRST] * REF[SECOND], 20_000, True, generator=generator)
    is_first = torch.rand(20_000, generator=generator, dtype=torch.float64) < P_FIRST[drawn]
    better = torch.where(is_first, FIRST[drawn], SECOND[drawn])
    worse = torch.where(is_first, SECOND[drawn], FIRST[drawn])

    scores = torch.zeros(15, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [scores], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = bradley_terry_loss(scores[better], scores[worse])
        loss.backward()
        return loss

    optimizer.step(closure)
    as_wins = torch.zeros(15, 15, dtype=torch.float64)
    as_wins.index_put_((better, worse), torch.ones(20_000).double(), accumulate=True)

    def of_policy(table: Tensor) -> Tensor:
        return (as_wins[FIRST, SECOND] * dpo(all_sides(table), beta=0.5)).sum() / 20_000

    by_reward = logprobs(tilted(scores.detach() / 0.5)).exp()
    assert (logprobs(minimizer(of_policy)).exp() - by_reward).abs().max().item() < 1e-4
    # With so many pairs it is near the optimum, and it is not the optimum.
    assert (by_reward - logprobs(tilted(SCORES / 0.5)).exp()).abs().max().item() > 1e-3
