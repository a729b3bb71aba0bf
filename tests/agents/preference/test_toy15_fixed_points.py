"""Where every loss ends on "toy15", with population data: closed forms, and zeros of gradients.

The literals were computed by enumeration in float64, independently of this project. A loss that
ends at π* has J = 1.125295; most do not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from agents.preference.losses import dro, kto, nash_md, sppo_response
from tests.agents.preference.toy15_population import (
    BEST,
    FIRST,
    LENGTHS,
    P_FIRST,
    REF,
    REF_LOGPROBS,
    REFERENCE,
    SECOND,
    WEIGHTS,
    WINS,
    all_sides,
    better_length,
    list_loss,
    logprobs,
    minimizer,
    objective,
    pair_loss,
    reward_and_kl,
    slope,
    tilted,
    zero_of_field,
)
from tests.rlhf_env.toy15_tables import ACTIONS, SCORES, STATES

STAR = tilted(SCORES / 0.5)
WIN_RATES = WINS @ REF
BEFORE = [(), (1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)]


def normalized(exponents: Callable[[float], Tensor], base: Tensor | None = None) -> Tensor:
    """The table of base · exp(exponents(C)) with the C that makes its mass 1."""
    start = REF_LOGPROBS if base is None else base

    def excess(constant: float) -> float:
        return (start + exponents(constant)).logsumexp(dim=0).item()

    return tilted(exponents(brentq(excess, -500.0, 500.0, xtol=1e-14)), start)


def f_tilted(inverse: Callable[[Tensor], Tensor], largest: float) -> Tensor:
    """f′(π/π_ref) = (r − C)/β at β = 0.5; ``inverse`` is u of f′, which stays below ``largest``."""

    def excess(constant: float) -> float:
        return (REF @ inverse((SCORES - constant) / 0.5)).item() - 1

    lowest = 3.0 - 0.5 * largest
    constant = brentq(excess, lowest + 1e-12, lowest + 50.0, xtol=1e-15)
    return tilted(inverse((SCORES - constant) / 0.5).log())


def of_forward_kl(slopes: Tensor) -> Tensor:
    """f′(u) = −1/u."""
    return -1 / slopes


def of_js(slopes: Tensor) -> Tensor:
    """f′(u) = log(2u/(1 + u))."""
    return slopes.exp() / (2 - slopes.exp())


def of_alpha_half(slopes: Tensor) -> Tensor:
    """f′(u) = 2 − 2 u^(−1/2)."""
    return (1 - slopes / 2) ** -2


def one_step_better(beta: float = 0.5) -> Tensor:
    """π_ref(a|s) exp(Q_ref(s, a)/β) in every state: what TDPO1 ends at."""
    table = torch.empty(3, 7, dtype=torch.float64)
    for state, action in itertools.product(range(7), range(3)):
        takes = ((action == ACTIONS) & (state == STATES)).any(dim=1)
        table[action, state] = (REF[takes] @ SCORES[takes]) / REF[takes].sum()
    return REFERENCE + table / beta


def discounted_optimum(gamma: float = 0.9) -> Tensor:
    """The soft optimum of the MDP with rewards r/gamma^(|y| − 1) at the end, by Bellman."""
    ref = REFERENCE.log_softmax(dim=0)
    paid = {
        tuple(row[row >= 0].tolist()): score.item() / gamma ** ((row >= 0).sum().item() - 1)
        for row, score in zip(ACTIONS, SCORES, strict=True)
    }
    values: dict[tuple[int, ...], Tensor] = {}
    table = torch.empty(3, 7, dtype=torch.float64)
    for state in reversed(range(7)):
        prefix = BEFORE[state]
        for action in range(3):
            after = (*prefix, action)
            q = paid[after] if after in paid else gamma * values[after]
            table[action, state] = ref[action, state] + q / 0.5
        values[prefix] = 0.5 * table[:, state].logsumexp(dim=0)
    return table


DPO_LOSS = 0.511483
# Loss, options, gamma; at the reference: loss, slope; at the closed form: loss, J, E[r], KL.
CLOSED_FORMS: list[tuple[str, dict[str, Any], Tensor, tuple[float, ...]]] = [
    ("dpo", {"beta": 0.5}, STAR, (0.693147, 0.103124, DPO_LOSS, BEST, 2.3758, 2.5011)),
    (
        "dpo",
        {"beta": 0.1},
        tilted(SCORES / 0.1),
        (0.693147, 0.020625, DPO_LOSS, 0.917477, 2.9998, 4.1647),
    ),
    (
        "dpo",
        {"beta": 1.0},
        tilted(SCORES),
        (0.693147, 0.206248, DPO_LOSS, 0.775690, 1.0524, 0.5534),
    ),
    (
        "ipo",
        {"beta": 0.5},
        tilted(WIN_RATES / 0.5),
        (1, 0.824990, 0.683003, 0.308518, 0.3354, 0.0537),
    ),
    (
        "ipo",
        {"beta": 0.1},
        tilted(WIN_RATES / 0.1),
        (25, 4.124951, 17.075063, 0.988045, 1.6446, 1.3131),
    ),
    (
        "ipo_mean",
        {"beta": 0.5},
        normalized(lambda c: LENGTHS * (WIN_RATES / 0.5 + c)),
        (1, 0.364055, 0.683003, 0.679025, 0.8833, 0.4086),
    ),
    (
        "ipo_mean",
        {"beta": 0.1},
        normalized(lambda c: LENGTHS * (WIN_RATES / 0.1 + c)),
        (25, 1.820275, 17.075063, 1.058857, 2.7751, 3.4324),
    ),
    (
        "dpo_norm",
        {"beta": 0.5},
        normalized(lambda c: LENGTHS * (SCORES / 0.5 + c)),
        (0.693147, 0.045507, DPO_LOSS, 0.944117, 2.9725, 4.0569),
    ),
    (
        "rdpo",
        {"beta": 0.5, "length_coef": 0.05},
        tilted((SCORES - 0.05 * LENGTHS) / 0.5),
        (0.700722, 0.110044, DPO_LOSS, 1.124331, 2.3286, 2.4086),
    ),
    (
        "rdpo",
        {"beta": 0.5, "length_coef": 0.1},
        tilted((SCORES - 0.1 * LENGTHS) / 0.5),
        (0.709810, 0.117406, DPO_LOSS, 1.121071, 2.2747, 2.3073),
    ),
    (
        "rdpo",
        {"beta": 0.5, "length_coef": 0.5},
        tilted((SCORES - 0.5 * LENGTHS) / 0.5),
        (0.834446, 0.180124, DPO_LOSS, 0.940595, 1.5851, 1.2890),
    ),
    (
        "fdpo",
        {"beta": 0.5, "f_divergence": "forward_kl"},
        f_tilted(of_forward_kl, 0.0),
        (0.693147, 0.103124, DPO_LOSS, 1.025189, 2.5094, 2.9685),
    ),
    (
        "fdpo",
        {"beta": 0.5, "f_divergence": "js_divergence"},
        f_tilted(of_js, math.log(2.0)),
        (0.693147, 0.051562, DPO_LOSS, 0.938322, 2.9849, 4.0933),
    ),
    (
        "fdpo",
        {"beta": 0.5, "f_divergence": "alpha_divergence", "f_alpha": 0.5},
        f_tilted(of_alpha_half, 2.0),
        (0.693147, 0.103124, DPO_LOSS, 1.041170, 2.6782, 3.2740),
    ),
    (
        "tdpo1",
        {"beta": 0.5},
        one_step_better(),
        (0.693147, 0.103124, DPO_LOSS, 1.063746, 1.9931, 1.8587),
    ),
    (
        "dpo",
        {"beta": 0.5, "gamma": 0.9},
        discounted_optimum(),
        (0.693147, 0.100885, DPO_LOSS, 1.114466, 2.5160, 2.8030),
    ),
    (
        "simpo",
        {"beta": 2.0, "simpo_gamma": 0.0},
        normalized(lambda c: LENGTHS * (SCORES + c) / 2.0, torch.zeros(15)),
        (0.969851, 0.196944, DPO_LOSS, 1.003717, 1.8585, 1.7096),
    ),
    (
        "cpo",
        {"beta": 0.5, "sft_coef": 0.0},
        tilted(SCORES / 0.5, torch.zeros(15)),
        (0.874952, 0.114305, DPO_LOSS, 1.026902, 2.6279, 3.2020),
    ),
]


@pytest.mark.parametrize(("name", "options", "end", "expected"), CLOSED_FORMS)
def test_closed_forms(
    name: str, options: dict[str, Any], end: Tensor, expected: tuple[float, ...]
) -> None:
    loss = pair_loss(name, **options)
    assert loss(REFERENCE).item() == pytest.approx(expected[0], abs=1e-6)
    assert slope(loss, REFERENCE).norm().item() == pytest.approx(expected[1], abs=1e-6)
    assert slope(loss, end).norm().item() <= 1e-9
    assert loss(end).item() == pytest.approx(expected[2], abs=1e-6)
    assert objective(end) == pytest.approx(expected[3], abs=1e-6)
    assert reward_and_kl(end) == pytest.approx(expected[4:], abs=6e-5)


TOKENS = {"nll_length": better_length()}
NO_CLOSED_FORM: list[tuple[str, dict[str, Any], tuple[float, float, float, float]]] = [
    ("cdpo", {"beta": 0.5}, (0.693147, 0.082499, 0.583192, 0.920613)),
    ("tdpo2", {"beta": 0.5}, (0.693147, 0.103124, 0.547477, 0.565618)),
    ("tdpo2", {"beta": 0.5, "tdpo_alpha": 1.0}, (0.693147, 0.103124, 0.585659, 0.440476)),
    ("simpo", {"beta": 2.0}, (1.276293, 0.211535, 0.695389, 1.046018)),
    ("simpo", {"beta": 2.0, "simpo_gamma": 1.6}, (2.103536, 0.261996, 1.178598, 1.080961)),
    ("cpo", {"beta": 0.5, **TOKENS}, (1.968322, 0.210591, 1.713901, 0.529255)),
    ("cpo", {"beta": 0.1, **TOKENS}, (1.803542, 0.111440, 1.709331, 0.439229)),
    ("orpo", {"beta": 0.0, **TOKENS}, (1.093370, 0.096393, 1.026606, 0.384912)),
    ("orpo", {"beta": 0.1, **TOKENS}, (1.183485, 0.110263, 1.097290, 0.414229)),
    ("orpo", {"beta": 1.0, **TOKENS}, (1.994517, 0.246317, 1.670883, 0.538928)),
    ("dpo", {"beta": 0.5, "sft_coef": 1.0, **TOKENS}, (1.786517, 0.176574, 1.602936, 0.506115)),
    ("bco", {"beta": 0.5}, (1.386294, 0.103124, 1.224042, 0.616508)),
]


@pytest.mark.parametrize(("name", "options", "expected"), NO_CLOSED_FORM)
def test_other_fixed_points(
    name: str, options: dict[str, Any], expected: tuple[float, ...]
) -> None:
    """The only loss that is a field, TDPO2, has a zero; all others a minimum."""
    loss = pair_loss(name, **options)
    assert loss(REFERENCE).item() == pytest.approx(expected[0], abs=1e-6)
    assert slope(loss, REFERENCE).norm().item() == pytest.approx(expected[1], abs=1e-6)
    end = zero_of_field(loss)
    assert slope(loss, end).norm().item() <= 1e-9
    assert loss(end).item() == pytest.approx(expected[2], abs=1e-6)
    assert objective(end) == pytest.approx(expected[3], abs=1e-6)


FAR_AWAY: list[tuple[str, dict[str, Any], tuple[float, float, float, float]]] = [
    ("simpo", {"beta": 10.0, "simpo_gamma": 3.0}, (5.162509, 1.386830, 1.869488, 0.718844)),
    ("exo", {"beta": 0.5}, (2.761231, 0.356125, 1.587260, 0.931917)),
]


@pytest.mark.parametrize(("name", "options", "expected"), FAR_AWAY)
def test_minima_far_away(name: str, options: dict[str, Any], expected: tuple[float, ...]) -> None:
    loss = pair_loss(name, **options)
    assert loss(REFERENCE).item() == pytest.approx(expected[0], abs=1e-6)
    assert slope(loss, REFERENCE).norm().item() == pytest.approx(expected[1], abs=1e-6)
    end = minimizer(loss)
    assert loss(end).item() == pytest.approx(expected[2], abs=1e-6)
    assert objective(end) == pytest.approx(expected[3], abs=1e-5)


def test_robust_on_flipped_labels_is_dpo_on_clean_ones() -> None:
    flipped = P_FIRST + 0.1 * (1 - 2 * P_FIRST)
    robust = pair_loss("robust", flipped, beta=0.5)
    for table in (REFERENCE, STAR, one_step_better()):
        clean = pair_loss("dpo", beta=0.5)(table).item()
        assert robust(table).item() == pytest.approx(clean, abs=1e-12)
    assert slope(robust, STAR).norm().item() < 1e-9


def test_cdpo_is_dpo_on_flipped_labels() -> None:
    flipped = pair_loss("dpo", P_FIRST + 0.1 * (1 - 2 * P_FIRST), beta=0.5)
    smoothed = pair_loss("cdpo", beta=0.5)
    for table in (REFERENCE, STAR, one_step_better()):
        assert smoothed(table).item() == pytest.approx(flipped(table).item(), abs=1e-12)


def test_reward_aware_rpo_ends_at_the_optimum() -> None:
    """It is DPO's loss with p = σ(Δr), less the labels' entropy."""
    rpo = pair_loss("rpo", beta=0.5)
    entropy = -(WEIGHTS * (P_FIRST * P_FIRST.log() + (1 - P_FIRST) * (1 - P_FIRST).log())).sum()
    assert (rpo(REFERENCE) + entropy).item() == pytest.approx(0.693147, abs=1e-6)
    assert (rpo(STAR) + entropy).item() == pytest.approx(DPO_LOSS, abs=1e-6)
    assert slope(rpo, REFERENCE).norm().item() == pytest.approx(0.103124, abs=1e-6)
    assert slope(rpo, STAR).norm().item() < 1e-9
    assert slope(pair_loss("rpo", beta=0.5, rpo_distance="squared"), STAR).norm().item() < 1e-9


def rankings_of_three() -> tuple[Tensor, Tensor]:
    """All orders of three different responses, and how often annotators give them."""
    rankings = torch.tensor(list(itertools.permutations(range(15), 3)))
    scores = SCORES[rankings]
    chosen = scores[:, :2] - torch.stack(
        [scores.logsumexp(dim=1), scores[:, 1:].logsumexp(dim=1)], dim=1
    )
    drawn = REF[rankings].prod(dim=1)
    return rankings, 6 * drawn / drawn.sum() * chosen.sum(dim=1).exp()


def test_plackett_luce_of_three_ends_at_the_optimum() -> None:
    loss = list_loss("plackett_luce", *rankings_of_three(), beta=0.5)
    assert loss(REFERENCE).item() == pytest.approx(1.791759, abs=1e-6)
    assert slope(loss, REFERENCE).norm().item() == pytest.approx(0.236304, abs=1e-6)
    assert loss(STAR).item() == pytest.approx(1.340021, abs=1e-6)
    assert slope(loss, STAR).norm().item() < 1e-9


def test_lipo_of_two_is_a_multiple_of_dpo() -> None:
    pairs = torch.stack([FIRST, SECOND], dim=1)
    lipo = list_loss("lipo", pairs, 2 * WEIGHTS * P_FIRST, beta=0.5)
    dpo = pair_loss("dpo", beta=0.5)
    for table in (REFERENCE, one_step_better()):
        assert lipo(table).item() == pytest.approx(0.532456 * dpo(table).item(), abs=1e-6)
    assert slope(lipo, STAR).norm().item() < 1e-9


def dro_loss(values: float, scores: Tensor = SCORES) -> Callable[[Tensor], Tensor]:
    def loss(table: Tensor) -> Tensor:
        return (REF * dro(logprobs(table) - REF_LOGPROBS, scores, beta=0.5, values=values)).sum()

    return loss


def test_dro_needs_the_value_of_the_optimum() -> None:
    learned = dro_loss(BEST)
    assert dro_loss(0.0)(REFERENCE).item() == pytest.approx(0.406629, abs=1e-6)
    assert slope(dro_loss(0.0), REFERENCE).norm().item() == pytest.approx(0.190169, abs=1e-6)
    assert learned(STAR).item() < 1e-12 and slope(learned, STAR).norm().item() < 1e-6
    for values, loss, ends in ((0.0, 0.104772, 0.660788), (0.039595, 0.092731, 0.676370)):
        end = zero_of_field(dro_loss(values))
        assert dro_loss(values)(end).item() == pytest.approx(loss, abs=1e-6)
        assert objective(end) == pytest.approx(ends, abs=1e-6)


def test_dro_on_thumbs_learns_how_often_they_are_up() -> None:
    up = SCORES.sigmoid()
    loss, end = dro_loss(0.542474, up), tilted(up / 0.5)
    assert loss(REFERENCE).item() == pytest.approx(0.017659, abs=1e-6)
    assert slope(loss, REFERENCE).norm().item() == pytest.approx(0.040642, abs=1e-6)
    assert slope(loss, end).norm().item() < 1e-6
    assert objective(end) == pytest.approx(0.328309, abs=1e-6)


def kto_loss(table: Tensor) -> Tensor:
    """Half of the examples are the better ones of pairs, the others the worse; z = 0."""
    sides = all_sides(table)
    rho = torch.stack([sides.first_log_ratio, sides.second_log_ratio])
    return (WEIGHTS * kto(rho, torch.stack([P_FIRST, 1 - P_FIRST]), beta=0.5).mean(dim=0)).sum()


def test_kto_at_the_reference() -> None:
    assert kto_loss(REFERENCE).item() == pytest.approx(0.5, abs=1e-6)
    assert slope(kto_loss, REFERENCE).norm().item() == pytest.approx(0.025781, abs=1e-6)


@pytest.mark.parametrize("table", [REFERENCE, STAR], ids=["reference", "optimum"])
def test_apo_zero_is_twice_kto(table: Tensor) -> None:
    apo = pair_loss("apo_zero", beta=0.5)(table).item()
    assert apo == pytest.approx(2 * kto_loss(table).item(), abs=1e-12)


def test_sppo_iterates() -> None:
    """η = 2, every iterate exact: J rises, and then passes the optimum's side."""
    table, found = REFERENCE, []
    for _ in range(5):
        now = logprobs(table)
        win_rates = WINS @ now.exp()

        def loss(new: Tensor, now: Tensor = now, win_rates: Tensor = win_rates) -> Tensor:
            losses = sppo_response(logprobs(new) - now, win_rates, beta=0.5)
            return (now.exp() * losses).sum()

        table = zero_of_field(loss, table)
        found.append(objective(table))
    assert [found[i] for i in (0, 1, 2, 4)] == pytest.approx(
        [0.295714, 0.516977, 0.720232, 1.034063], abs=1e-6
    )


def test_sppo_of_pairs_leaves_self_pairs_out() -> None:
    """Pairs of two different responses only: J 0.3126 instead of 0.2957."""
    end = zero_of_field(pair_loss("sppo", beta=0.5))
    assert objective(end) == pytest.approx(0.3126, abs=5e-5)


def test_moving_the_reference_of_ipo_is_exponential_weights() -> None:
    table, found = REFERENCE, []
    for _ in range(10):
        now = logprobs(table)
        table = tilted(WINS @ now.exp() / 0.5, now)
        found.append(objective(table))
    assert [found[i] for i in (0, 4, 9)] == pytest.approx([0.308518, 1.067972, 1.000349], abs=1e-6)


@pytest.mark.parametrize(("tau", "expected"), [(0.5, 0.312731), (0.1, 1.086912)])
def test_nash_md_stands_still_at_the_regularized_equilibrium(tau: float, expected: float) -> None:
    """π = π_ref exp(P(y > π)/τ), reached by damped iteration."""
    table = REFERENCE
    for _ in range(60):
        now = logprobs(table)
        table = tilted((WINS @ now.exp() / tau + now - REF_LOGPROBS) / 2)
    probabilities = logprobs(table).exp()

    def loss(new: Tensor) -> Tensor:
        losses = nash_md(logprobs(new) - REF_LOGPROBS, WINS @ probabilities, beta=tau)
        return (probabilities * losses).sum()

    assert objective(table) == pytest.approx(expected, abs=1e-6)
    assert slope(loss, table).norm().item() < 1e-9
    assert slope(loss, REFERENCE).norm().item() > 1e-3


SAME_KL = (0.25, 0.5534, 1.0, 2.5011)
FAMILIES: dict[str, tuple[Callable[[float], Tensor], tuple[float, float, float, float]]] = {
    "dpo": (lambda beta: tilted(SCORES / beta), (0.7005, 1.0524, 1.4442, 2.3758)),
    "ipo": (lambda beta: tilted(WIN_RATES / beta), (0.6906, 1.0340, 1.4172, 2.3467)),
    "ipo_mean": (
        lambda beta: normalized(lambda c: LENGTHS * (WIN_RATES / beta + c)),
        (0.6902, 1.0338, 1.4224, 2.3616),
    ),
    "dpo_norm": (
        lambda beta: normalized(lambda c: LENGTHS * (SCORES / beta + c)),
        (0.6970, 1.0437, 1.4268, 2.3388),
    ),
    "tdpo1": (one_step_better, (0.6947, 1.0377, 1.4198, 2.3438)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_at_equal_kl(name: str) -> None:
    """DPO's is the most there is; the others' families of optima come near it."""
    end, expected = FAMILIES[name]
    for kl, score in zip(SAME_KL, expected, strict=True):
        beta = brentq(lambda b, kl=kl: reward_and_kl(end(b))[1] - kl, 0.03, 20.0)
        assert reward_and_kl(end(beta))[0] == pytest.approx(score, abs=1.5e-4)
