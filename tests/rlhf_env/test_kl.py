"""Expected numbers come from scipy.stats.entropy, scipy's jensenshannon and decimal arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from rlhf_env.kl import (
    alpha_divergence,
    exact_kl,
    forward_kl,
    js_divergence,
    k1,
    k2,
    k3,
    reverse_kl,
)
from rlhf_env.task import Task
from tests.rlhf_env.toy15_tables import action_logprobs
from tests.toys import theta_policy

PI = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REF = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
WIDE_PI = torch.tensor([0.9, 0.1], dtype=torch.float64)
WIDE_REF = torch.tensor([0.2, 0.8], dtype=torch.float64)
INF = math.inf


def test_direction_and_expectations_of_the_estimators() -> None:
    """Trap D1."""
    assert exact_kl(PI.log(), REF.log()).item() == pytest.approx(0.025267, abs=5e-7)
    assert exact_kl(REF.log(), PI.log()).item() == pytest.approx(0.025815, abs=5e-7)
    expected = {k1: 0.025267, k2: 0.024862, k3: 0.025267}
    for estimator, value in expected.items():
        mean = (PI * estimator(PI.log(), REF.log())).sum().item()
        assert mean == pytest.approx(value, abs=5e-7), estimator.__name__


def test_estimators_of_one_token() -> None:
    logprobs, ref_logprobs = torch.tensor([-1.0, -1.7]), torch.tensor([-1.7, -1.0])
    assert k1(logprobs, ref_logprobs).tolist() == pytest.approx([0.7, -0.7])
    assert k2(logprobs, ref_logprobs).tolist() == pytest.approx([0.245, 0.245])
    assert k3(logprobs, ref_logprobs).tolist() == pytest.approx([0.1965853, 0.3137527], rel=1e-6)


@pytest.mark.parametrize(
    ("estimator", "mean", "spread"),
    [(k1, 0.011466, 0.147707), (k2, 0.011549, 0.012696), (k3, 0.011466, 0.012636)],
)
def test_estimators_summed_over_tokens_on_toy15(
    toy15: Task, estimator: Callable[[Tensor, Tensor], Tensor], mean: float, spread: float
) -> None:
    probabilities, logprobs, ref_logprobs = _toy15_episodes(toy15)
    sums = estimator(logprobs, ref_logprobs).sum(dim=1)
    found = (probabilities * sums).sum().item()
    variance = (probabilities * (sums - found).square()).sum().item()
    assert found == pytest.approx(mean, abs=1e-6)
    assert math.sqrt(variance) == pytest.approx(spread, abs=1e-6)


def test_estimators_of_whole_responses_on_toy15(toy15: Task) -> None:
    probabilities, logprobs, ref_logprobs = _toy15_episodes(toy15)
    totals = logprobs.sum(dim=1), ref_logprobs.sum(dim=1)
    assert (probabilities * k2(*totals)).sum().item() == pytest.approx(0.010974, abs=1e-6)
    assert (probabilities * k3(*totals)).sum().item() == pytest.approx(0.011466, abs=1e-6)


def test_named_directions() -> None:
    assert reverse_kl(WIDE_PI.log(), WIDE_REF.log()).item() == pytest.approx(1.1457255029)
    assert forward_kl(WIDE_PI.log(), WIDE_REF.log()).item() == pytest.approx(1.3627377540)


def test_jensen_shannon() -> None:
    assert js_divergence(PI.log(), REF.log()).item() == pytest.approx(0.0063671983)
    assert js_divergence(WIDE_PI.log(), WIDE_REF.log()).item() == pytest.approx(0.2753961152)
    left, right = torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.0, 0.5, 0.5]).log()
    assert js_divergence(left, right).item() == pytest.approx(0.3465735903)


@pytest.mark.parametrize(
    ("alpha", "near", "wide"),
    [
        (0.0, 0.0258154085, 1.3627377540),
        (0.25, 0.0256509386, 1.2427844852),
        (0.5, 0.0255049719, 1.1715728753),
        (0.9, 0.0253090338, 1.1396018424),
        (1.0, 0.0252671539, 1.1457255029),
    ],
)
def test_alpha_divergence(alpha: float, near: float, wide: float) -> None:
    assert alpha_divergence(PI.log(), REF.log(), alpha).item() == pytest.approx(near)
    assert alpha_divergence(WIDE_PI.log(), WIDE_REF.log(), alpha).item() == pytest.approx(wide)


def test_alpha_outside_the_unit_interval_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 1.5"):
        alpha_divergence(PI.log(), REF.log(), 1.5)


def test_shapes_and_precision() -> None:
    logits = torch.zeros(2, 5, 7, dtype=torch.bfloat16)
    ref_logits = torch.ones(2, 5, 7, dtype=torch.bfloat16)
    for divergence in (exact_kl, reverse_kl, forward_kl, js_divergence):
        value = divergence(logits, ref_logits)
        assert value.shape == (2, 5)
        assert value.dtype == torch.float32
    assert k3(logits, ref_logits).dtype == torch.float32
    assert exact_kl(PI.log(), REF.log()).dtype == torch.float64


def test_masked_tokens_count_nothing() -> None:
    logits, ref_logits = torch.tensor([0.0, 0.0, -INF]), torch.tensor([0.0, 0.0, -INF])
    assert exact_kl(logits, ref_logits).item() == 0.0
    only_pi = torch.tensor([0.0, 0.0, 0.0])
    assert exact_kl(logits, only_pi).item() == pytest.approx(0.4054651, rel=1e-6)
    assert exact_kl(only_pi, ref_logits).item() == INF
    disjoint = torch.tensor([-INF, 0.0]), torch.tensor([0.0, -INF])
    assert js_divergence(*disjoint).item() == pytest.approx(0.6931472, rel=1e-6)
    assert alpha_divergence(*disjoint, 0.5).item() == pytest.approx(4.0)


@pytest.mark.parametrize(
    "divergence", [exact_kl, js_divergence, partial(alpha_divergence, alpha=0.5)]
)
def test_gradient_past_a_mask_is_finite(divergence: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = torch.tensor([1.0, 0.0, -INF], requires_grad=True)
    ref_logits = torch.tensor([0.0, 0.5, -INF], requires_grad=True)
    divergence(logits, ref_logits).backward()
    for tensor in (logits, ref_logits):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("log_ratio", [200.0, -200.0, 1e4, -1e4])
def test_huge_log_ratios_stay_finite_and_pull_the_right_way(log_ratio: float) -> None:
    """Trap D12."""
    for estimator in (k1, k2, k3):
        logprobs = torch.tensor(-300.0 + log_ratio, requires_grad=True)
        value = estimator(logprobs, torch.tensor(-300.0))
        value.backward()
        assert value.isfinite()
        assert logprobs.grad is not None and logprobs.grad.isfinite()
        if estimator is not k1:
            assert math.copysign(1.0, logprobs.grad.item()) == math.copysign(1.0, log_ratio)


def test_k3_goes_on_in_a_straight_line_beyond_20() -> None:
    value = k3(torch.tensor(-30.0), torch.tensor(0.0)).item()
    assert value == pytest.approx(5336817118.5, rel=1e-6)


def test_impossible_tokens_give_no_nan() -> None:
    forbidden, possible = torch.tensor(-INF), torch.tensor(-1.0)
    for estimator in (k1, k2, k3):
        assert estimator(forbidden, forbidden).item() == 0.0
        assert not estimator(possible, forbidden).isnan()
        assert not estimator(forbidden, possible).isnan()


def _toy15_episodes(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """All responses of theta: probability [15], logprobs of theta and of the reference [15, 3]."""
    logprobs = action_logprobs(theta_policy(task)).detach()
    return logprobs.sum(dim=1).exp(), logprobs, action_logprobs(task.reference)
