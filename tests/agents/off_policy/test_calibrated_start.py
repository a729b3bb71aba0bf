"""TBRM and ReVal where nothing is paid: what moves at the reference, and where both end.

arXiv:2603.23355 says (proposition 1) that the reference is not optimal for TBRM. By enumeration on
"toy15" with the score 0: its gradient there is not 0, and its minimum is the reference.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import TBRM, ReVal
from agents.exact_gradients import exact_gradients
from agents.off_policy.residuals import trajectory_residuals
from rlhf_env.exact import evaluate
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.tasks.table import table_task
from rlhf_env.tasks.toy15 import reference_logits
from tests.agents.episodes import make_envs
from tests.agents.off_policy.minimize import least
from tests.agents.preference.toy15_population import BEST, REF, REFERENCE, logprobs
from tests.rlhf_env.toy15_tables import ACTIONS, SCORES, STATES

NOTHING = torch.zeros_like(SCORES)
MASK = ACTIONS >= 0
# A third for each token, whatever was said.
UNIFORM = torch.where(MASK, 1 / 3, torch.ones(15, 3, dtype=torch.float64)).prod(dim=1)
BEHAVIORS = {"reference": REF, "uniform": UNIFORM}
# Logits of the first token: cos 1, cos 3 and cos 5.
ORIGIN = math.log(sum(math.exp(math.cos(x)) for x in (1, 3, 5)))


def loss(table: Tensor, scores: Tensor, origin: float, *, is_normalized: bool = False) -> Tensor:
    """[15] squares, at beta = 0.5."""
    ratio = (table.log_softmax(dim=0) - REFERENCE.log_softmax(dim=0))[ACTIONS.clamp(min=0), STATES]
    rewards = torch.zeros_like(ratio)
    rewards[torch.arange(15), MASK.sum(dim=1) - 1] = scores
    beta = torch.full((15,), 0.5, dtype=torch.float64)
    residuals = trajectory_residuals(rewards, ratio, MASK, beta, 1.0)
    value = 0.0 if is_normalized else table[:, 0].logsumexp(dim=0) - origin
    return (residuals + value).square()


def minimum(
    behavior: Tensor, scores: Tensor, origin: float, **options: Any
) -> tuple[Tensor, float]:
    """The table of least loss, from the reference's logits on, and that loss."""
    table = REFERENCE.clone().requires_grad_()
    found = least(lambda: behavior @ loss(table, scores, origin, **options), [table])
    return table.detach(), found


def unpaid_task() -> Task:
    return table_task(3, 3, reference_logits, lambda tokens: 0.0)


@pytest.mark.parametrize(("kind", "norm"), [(TBRM, 1.583650), (ReVal, 0.0)])
def test_the_gradient_at_the_reference(kind: Any, norm: float) -> None:
    """2 V(s_1) |pi(.|s_1)| = 2 · 1.228496 · 0.644548 for TBRM: its normalizer falls."""
    found = exact_gradients(kind(make_envs(unpaid_task(), 4), episodes_per_update=4))
    assert found.truth.norm().item() == pytest.approx(0.0, abs=1e-6)
    assert found.expected.norm().item() == pytest.approx(norm, abs=1e-5)


@pytest.mark.parametrize("shift", [-ORIGIN, 10.0])
def test_the_gradient_depends_on_a_number_that_is_no_part_of_the_policy(shift: float) -> None:
    """Added to the first state's logits: with normalized ones TBRM is calibrated too."""
    table = (REFERENCE + shift).requires_grad_()
    (slope,) = torch.autograd.grad(REF @ loss(table, NOTHING, 0.0), table)
    expected = 2 * abs(ORIGIN + shift) * 0.644548
    assert slope.norm().item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize(("origin", "value"), [(0.0, 0.0), (ORIGIN, ORIGIN)])
def test_both_have_their_minimum_at_the_reference(
    behavior: str, origin: float, value: float
) -> None:
    table, lowest = minimum(BEHAVIORS[behavior], NOTHING, origin)
    assert lowest == pytest.approx(0.0, abs=1e-12)
    assert table[:, 0].logsumexp(dim=0).item() == pytest.approx(value, abs=1e-6)
    assert (table.softmax(dim=0) - REFERENCE.softmax(dim=0)).abs().max() < 1e-6


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("origin", [0.0, ORIGIN])
def test_both_have_their_minimum_at_the_optimum_where_something_is_paid(
    behavior: str, origin: float
) -> None:
    table, lowest = minimum(BEHAVIORS[behavior], SCORES, origin)
    assert lowest == pytest.approx(0.0, abs=1e-12)
    assert objective(table) == pytest.approx(BEST, abs=1e-6)
    # V* = beta log Z.
    assert table[:, 0].logsumexp(dim=0).item() - origin == pytest.approx(BEST / 0.5, abs=1e-5)


@pytest.mark.parametrize(("behavior", "share"), [("reference", 0.587213), ("uniform", 0.691091)])
def test_normalized_logits_can_hold_no_value(behavior: str, share: float) -> None:
    """Then the start is calibrated, and the minimum is elsewhere, another for each behavior."""
    table, lowest = minimum(BEHAVIORS[behavior], SCORES, 0.0, is_normalized=True)
    assert lowest > 0.5
    assert objective(table) / BEST == pytest.approx(share, abs=1e-5)


def test_the_drift_passes() -> None:
    """Gradient steps of TBRM on its own episodes leave the reference and come back."""
    table = REFERENCE.clone().requires_grad_()
    divergence = []
    for _ in range(2000):
        probabilities = logprobs(table.detach()).exp()
        (slope,) = torch.autograd.grad(probabilities @ loss(table, NOTHING, 0.0), table)
        with torch.no_grad():
            table -= 0.01 * slope
        now = logprobs(table.detach())
        divergence.append((now.exp() @ (now - logprobs(REFERENCE))).item())
    assert max(divergence) == pytest.approx(0.013556, abs=1e-5)
    assert divergence[-1] < 1e-4


def objective(table: Tensor) -> float:
    states = ((), (1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2))
    columns = table.softmax(dim=0).T.tolist()
    return evaluate(load_task("toy15"), dict(zip(states, columns, strict=True)), 0.5).objective
