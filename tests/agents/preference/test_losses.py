"""Every loss of preference optimization on numbers worked out elsewhere, and far outside."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import agents
from agents.preference.comparisons import Ranking, Sides
from agents.preference.losses import (
    LIST_LOSSES,
    PAIR_LOSSES,
    SINGLE_LOSSES,
    bco_response,
    dpo,
    dro,
    expected_loss,
    kto,
    kto_baseline,
    lipo,
    nash_md,
    plackett_luce,
    sppo_response,
    tdpo2,
    xpo,
)
from agents.settings.preference_losses import LENGTH_NORMALIZED, REFERENCE_FREE, TRL_LOSS_TYPES
from tests.agents.preference.golden import LISTS, PAIRS

Slopes = tuple[float, float, float]
PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 1e-6)]
ONE_EACH = {name: options for name, options, _ in reversed(PAIRS)}


def sides(
    first: float = -10.0,
    second: float = -12.0,
    *,
    ref: tuple[float, float] = (-11.0, -11.5),
    lengths: tuple[int, int] = (5, 8),
    dtype: torch.dtype = torch.float64,
) -> Sides:
    def one(value: float) -> Tensor:
        return torch.tensor([value], dtype=dtype)

    return Sides(
        first=one(first).requires_grad_(),
        second=one(second).requires_grad_(),
        ref_first=one(ref[0]),
        ref_second=one(ref[1]),
        first_length=torch.tensor([lengths[0]]),
        second_length=torch.tensor([lengths[1]]),
        margin=one(0.7),
        first_kl=one(0.3),
        second_kl=one(0.7),
    )


def ranking(labels: tuple[float, float], dtype: torch.dtype) -> Ranking:
    return Ranking(
        logprobs=torch.tensor([-10.0, -12.0], dtype=dtype, requires_grad=True),
        ref_logprobs=torch.tensor([-11.0, -11.5], dtype=dtype),
        lengths=torch.tensor([5, 8]),
        labels=torch.tensor(labels, dtype=dtype),
    )


def value_and_slopes(loss: Callable[[Sides], Tensor], given: Sides) -> Tensor:
    value = loss(given).sum()
    slopes = torch.autograd.grad(value, (given.first, given.second), allow_unused=True)
    return torch.stack([value.detach(), *(0 * value if g is None else g.sum() for g in slopes)])


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize(("name", "options", "expected"), PAIRS)
def test_pairs(
    name: str, options: dict[str, Any], expected: Slopes, dtype: torch.dtype, bound: float
) -> None:
    options = {"beta": 0.1, **options}
    found = value_and_slopes(lambda s: PAIR_LOSSES[name](s, **options), sides(dtype=dtype))
    assert_close(found, torch.tensor(expected, dtype=dtype), rtol=bound, atol=bound)


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize(("name", "options", "labels", "expected"), LISTS)
def test_lists(
    name: str,
    options: dict[str, Any],
    labels: tuple[float, float],
    expected: Slopes,
    dtype: torch.dtype,
    bound: float,
) -> None:
    given = ranking(labels, dtype)
    value = LIST_LOSSES[name](given, **options)
    (slopes,) = torch.autograd.grad(value, given.logprobs)
    found = torch.cat([value.detach()[None], slopes])
    assert_close(found, torch.tensor(expected, dtype=dtype), rtol=bound, atol=bound)


SINGLES: list[tuple[str, Callable[[Tensor], Tensor], Slopes]] = [
    (
        "kto",
        lambda rho: kto(rho, rho.new_tensor([1.0, 0.0]), beta=0.1, kl=0.5).mean(),
        (0.4812617080184, -0.01249219075406, 0.01246880200964),
    ),
    (
        "bco",
        lambda rho: bco_response(rho, rho.new_tensor([1.0, 0.0]), beta=0.1, bco_shift=0.05).sum(),
        (1.312856308087, -0.04875026035158, 0.04750208125211),
    ),
    (
        "dro",
        lambda rho: dro(rho, torch.ones_like(rho), beta=0.1, values=0.2)[0],
        (0.245, -0.07, 0.0),
    ),
    (
        "sppo",
        lambda rho: sppo_response(rho, rho.new_tensor([0.8, 0.3]), beta=0.1).sum(),
        (6.25, -4.0, 3.0),
    ),
    # 0.1 * 1 - (0.8 - 0.5) = -0.2 and 0.1 * -0.5 - (0.3 - 0.5) = 0.15 are the slopes.
    (
        "nash_md",
        lambda rho: nash_md(rho, rho.new_tensor([0.8, 0.3]), beta=0.1).sum(),
        (-0.275, -0.2, 0.15),
    ),
]


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize(("name", "loss", "expected"), SINGLES)
def test_single_responses(
    name: str,
    loss: Callable[[Tensor], Tensor],
    expected: Slopes,
    dtype: torch.dtype,
    bound: float,
) -> None:
    assert name in SINGLE_LOSSES
    rho = torch.tensor([1.0, -0.5], dtype=dtype, requires_grad=True)
    value = loss(rho)
    (slopes,) = torch.autograd.grad(value, rho)
    found = torch.cat([value.detach()[None], slopes])
    assert_close(found, torch.tensor(expected, dtype=dtype), rtol=bound, atol=bound)


def test_every_loss_has_its_row() -> None:
    assert set(ONE_EACH) == set(PAIR_LOSSES)
    assert {row[0] for row in LISTS} == set(LIST_LOSSES)
    assert {row[0] for row in SINGLES} == set(SINGLE_LOSSES)


def test_xpo_pays_for_what_the_reference_said() -> None:
    found = value_and_slopes(lambda s: xpo(s, 1.0, beta=0.1, xpo_alpha=1e-2), sides())
    expected = torch.tensor(
        [0.5009570477895, -0.04625701546563, 0.05625701546563], dtype=torch.float64
    )
    assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_dpop_pays_for_a_lower_first_response() -> None:
    """h = -0.5 and the first lost 1 nat: -log s(0.1 (-0.5 - 5)), slope -0.1 * 6 * s(0.55)."""
    found = value_and_slopes(
        lambda s: PAIR_LOSSES["dpop"](s, beta=0.1, dpop_lambda=5.0), sides(first=-12.0)
    )
    expected = torch.tensor([1.00549248146, -0.38048135461, 0.0634135591], dtype=torch.float64)
    assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("alpha", "same"), [(1.0, "reverse_kl"), (0.0, "forward_kl")])
def test_alpha_divergence_has_the_kls_as_its_ends(alpha: float, same: str) -> None:
    fdpo = PAIR_LOSSES["fdpo"]
    found = fdpo(sides(), beta=0.1, f_divergence="alpha_divergence", f_alpha=alpha)
    assert_close(found, fdpo(sides(), beta=0.1, f_divergence=same))


EXTREMES = [
    pytest.param({"first": 0.0, "second": -200.0, "ref": (-200.0, 0.0)}, id="+200"),
    pytest.param({"first": -200.0, "second": 0.0, "ref": (0.0, -200.0)}, id="-200"),
    pytest.param({"first": -1e-8, "second": -1e-8, "lengths": (1, 1)}, id="certain tokens"),
    pytest.param({"first": 0.0, "second": -0.0, "lengths": (1, 1)}, id="probability 1"),
    pytest.param({"first": -9.0, "second": -9.0, "ref": (-9.0, -9.0)}, id="equal sides"),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize(("name", "options"), [row[:2] for row in PAIRS])
def test_pairs_stay_finite(
    name: str, options: dict[str, Any], extreme: dict[str, Any], dtype: torch.dtype
) -> None:
    options = {"beta": 1.0, **options}
    given = sides(dtype=dtype, **extreme)
    assert value_and_slopes(lambda s: PAIR_LOSSES[name](s, **options), given).isfinite().all()


@pytest.mark.parametrize("logprobs", [(0.0, -200.0), (-200.0, 0.0), (-1e-8, -1e-8), (-9.0, -9.0)])
@pytest.mark.parametrize(("name", "options", "labels"), [row[:3] for row in LISTS])
def test_lists_stay_finite(
    name: str, options: dict[str, Any], labels: tuple[float, float], logprobs: tuple[float, float]
) -> None:
    given = ranking(labels, torch.float32)
    leaf = torch.tensor(logprobs, requires_grad=True)
    ends = Ranking(
        logprobs=leaf,
        ref_logprobs=torch.tensor(logprobs[::-1]),
        lengths=torch.ones(2),
        labels=given.labels,
    )
    value = LIST_LOSSES[name](ends, **options)
    assert value.isfinite() and torch.autograd.grad(value, leaf)[0].isfinite().all()


@pytest.mark.parametrize("rho", [-200.0, 0.0, 200.0])
@pytest.mark.parametrize(("name", "loss", "_"), SINGLES)
def test_single_responses_stay_finite(
    name: str, loss: Callable[[Tensor], Tensor], _: Slopes, rho: float
) -> None:
    leaf = torch.tensor([rho, -rho], requires_grad=True)
    value = loss(leaf)
    assert value.isfinite() and torch.autograd.grad(value, leaf)[0].isfinite().all()


def test_equal_sides_teach_nothing() -> None:
    """A tie of a response with itself: loss log 2; its two slopes cancel in one log-probability."""
    given = sides(first=-9.0, second=-9.0, ref=(-9.0, -9.0))
    value, first, second = value_and_slopes(lambda s: expected_loss(dpo, s, 0.5, beta=0.1), given)
    assert value.item() == pytest.approx(math.log(2)) and first == second == 0


def test_labels_flip_and_smooth() -> None:
    """cDPO is DPO with p = 0.9; robust(e) on labels flipped with e is DPO on clean ones."""
    flipped = 0.9 * PAIR_LOSSES["robust"](sides(), beta=0.1)
    flipped = flipped + 0.1 * PAIR_LOSSES["robust"](sides().swapped(), beta=0.1)
    assert_close(flipped, dpo(sides(), beta=0.1), rtol=1e-12, atol=0)
    smoothed = PAIR_LOSSES["cdpo"](sides(), beta=0.1, label_smoothing=0.1)
    assert_close(smoothed, expected_loss(dpo, sides(), torch.tensor([0.9]).double(), beta=0.1))


def test_a_nll_over_the_batch_is_the_mean_over_its_tokens() -> None:
    """Two responses of 2 and 6 tokens: (4 + 12) / 8 instead of (2 + 2) / 2 per response."""
    two = Sides(
        first=torch.tensor([-4.0, -12.0]),
        second=torch.zeros(2),
        ref_first=torch.zeros(2),
        ref_second=torch.zeros(2),
        first_length=torch.tensor([2, 6]),
        second_length=torch.ones(2),
    )
    nll = PAIR_LOSSES["cpo"](two, beta=0.1, nll_length=4.0) - PAIR_LOSSES["cpo"](
        two, beta=0.1, sft_coef=0.0
    )
    assert_close(nll, torch.tensor([1.0, 3.0]))


def test_kl_of_the_first_response_is_held_fixed_in_tdpo2_only() -> None:
    for name, is_free in (("tdpo1", True), ("tdpo2", False)):
        given = sides()
        assert given.first_kl is not None and given.second_kl is not None
        given.first_kl.requires_grad_()
        given.second_kl.requires_grad_()
        PAIR_LOSSES[name](given, beta=0.1).sum().backward()
        assert (given.first_kl.grad is not None) is is_free
        assert given.second_kl.grad is not None


def test_tdpo2_is_the_field_that_it_says() -> None:
    """Finite differences in log π and in the second's KL, the first's held."""
    step = 1e-6
    given = sides()
    assert given.second_kl is not None
    given.second_kl.requires_grad_()
    slope = torch.autograd.grad(tdpo2(given, beta=0.1).sum(), given.second_kl)[0].item()
    ends = []
    for sign in (1, -1):
        moved = sides()
        assert moved.second_kl is not None
        moved.second_kl.add_(sign * step)
        ends.append(tdpo2(moved, beta=0.1).item())
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


def three(labels: list[float], log_ratios: list[float]) -> Ranking:
    return Ranking(
        logprobs=torch.tensor(log_ratios, dtype=torch.float64, requires_grad=True),
        ref_logprobs=torch.zeros(3, dtype=torch.float64),
        lengths=torch.ones(3, dtype=torch.float64),
        labels=torch.tensor(labels, dtype=torch.float64),
    )


def test_plackett_luce_of_three() -> None:
    """Worths 1, 2, 4 in the order 4, 1, 2: 4/7 times 1/3."""
    given = three([2, 1, 3], [0.0, math.log(2), math.log(4)])
    assert plackett_luce(given, beta=1.0).item() == pytest.approx(math.log(21 / 4))


def test_lipo_weighs_by_gain_and_place() -> None:
    """Labels 2, 0, 1 and scores 0, 1, 2: places 3, 2, 1, gains 4, 1, 2.

    Discounts 1/ln 4, 1/ln 3, 1/ln 2: weights 3 * 0.188891 + 2 * 0.721348 + 1 * 0.532456 times
    log(1 + e) for (0, 1), log(1 + e^2) for (0, 2) and log(1 + e^-1) for (2, 1).
    """
    expected = 3 * 0.18889171 * 1.31326169 + 2 * 0.72134752 * 2.12692801 + 0.53245581 * 0.31326169
    assert lipo(three([2, 0, 1], [0, 1, 2]), beta=1.0).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["plackett_luce", "lipo", "rrhf", "pro"])
def test_lists_do_not_depend_on_the_order_of_rows(name: str) -> None:
    options = {"beta": 0.5} if name in ("plackett_luce", "lipo") else {}
    for log_ratios in ([-1.0, -2.0, -4.0], [-1.0, -1.0, -1.0]):
        one = LIST_LOSSES[name](three([3, 2, 1], log_ratios), **options)
        other = LIST_LOSSES[name](three([1, 3, 2], [log_ratios[i] for i in (2, 0, 1)]), **options)
        assert_close(one, other)


def test_kto_baseline_is_detached_and_not_negative() -> None:
    found = kto_baseline(torch.tensor([1.0, 2.0], requires_grad=True))
    assert found.item() == 1.5 and not found.requires_grad
    assert kto_baseline(torch.tensor([-1.0, 0.5])).item() == 0


def test_what_a_loss_needs_is_asked_for() -> None:
    bare = Sides(**dict.fromkeys(_REQUIRED, torch.ones(1)))
    with pytest.raises(ValueError, match="first_kl"):
        PAIR_LOSSES["tdpo1"](bare, beta=0.1)
    with pytest.raises(ValueError, match="scores"):
        PAIR_LOSSES["rpo"](bare, beta=0.1)
    with pytest.raises(ValueError, match="'both'"):
        PAIR_LOSSES["rpo"](sides(), beta=0.1, rpo_distance="both")
    with pytest.raises(ValueError, match="f_divergence must be one of alpha_divergence, "):
        PAIR_LOSSES["fdpo"](sides(), beta=0.1, f_divergence="kl")


_REQUIRED = ("first", "second", "ref_first", "ref_second", "first_length", "second_length")


@pytest.mark.parametrize("loss", [*PAIR_LOSSES.values(), *LIST_LOSSES.values()])
def test_losses_are_short(loss: Callable[..., Tensor]) -> None:
    """At most 15 lines, the docstring and the signature aside."""
    source = inspect.getsource(loss)
    body = source.rpartition('"""')[2]
    assert len(body.strip().splitlines()) <= 15


def test_no_loss_is_written_elsewhere() -> None:
    folder = Path(agents.__file__).parent
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if "logsigmoid" in path.read_text(encoding="utf-8")
    }
    assert found == {"preference/losses.py"}


def test_names_without_torch_are_those_of_losses() -> None:
    known = {*PAIR_LOSSES, *LIST_LOSSES, *SINGLE_LOSSES}
    assert known >= REFERENCE_FREE | LENGTH_NORMALIZED
    assert known >= set(TRL_LOSS_TYPES.values())


@pytest.mark.parametrize("name", sorted(PAIR_LOSSES))
def test_which_losses_read_the_reference(name: str) -> None:
    """The reference changes a loss unless it is free of it."""
    options = {"beta": 0.1, **ONE_EACH[name]}
    loss = PAIR_LOSSES[name]
    moved = loss(sides(ref=(-9.0, -13.0)), **options)
    assert (moved == loss(sides(), **options)).item() is (name in REFERENCE_FREE)
