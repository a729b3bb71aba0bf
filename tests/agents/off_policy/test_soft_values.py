"""Soft values on numbers worked out by hand, and against the exact solution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from agents.off_policy.soft_values import (
    conservative_penalty,
    expectile_loss,
    soft_q_target,
    soft_value,
    suffix_residuals,
)
from rlhf_env.exact import solve
from rlhf_env.task import Task
from rlhf_env.tasks import load_task, table_task

Prefix = tuple[int, ...]


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def random_task(seed: int = 3) -> Task:
    random = np.random.default_rng(seed)
    scores: dict[Prefix, float] = {}
    return table_task(
        3,
        4,
        lambda prefix: random.normal(0.0, 1.5, 3).tolist(),
        lambda tokens: scores.setdefault(tokens, float(random.normal())),
    )


def test_soft_value_is_the_log_mean_exp_under_the_reference() -> None:
    # 0.5 log(0.25 e^2 + 0.75 e^0) = 0.5 log 2.59726402...
    half = soft_value(double(1.0, 0.0), double(0.25, 0.75).log(), 0.5)
    assert float(half) == pytest.approx(0.477229296, abs=1e-9)


def test_soft_value_has_a_coefficient_for_each_state() -> None:
    q, ref = double(1.0, 0.0).expand(2, 2), double(0.25, 0.75).log().expand(2, 2)
    found = soft_value(q, ref, double(0.5, 1e6))
    # A large beta leaves the mean under the reference.
    assert found.tolist() == pytest.approx([0.477229296, 0.25], abs=1e-6)


def test_a_forbidden_token_is_worth_nothing() -> None:
    assert float(soft_value(double(1.0, 9.0), double(0.0, -math.inf), 0.5)) == 1.0


def test_targets_add_the_discounted_value_of_the_next_state() -> None:
    rewards, values = double(0.1, 0.2, 0.3)[None], double(9.0, 2.0, 3.0)[None]
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert soft_q_target(rewards, values, mask, 0.5)[0].tolist() == pytest.approx([1.1, 1.7, 0.3])


def test_the_last_decision_leads_to_nothing_whatever_stands_after_it() -> None:
    rewards, values = double(0.1, 0.2, 7.0)[None], double(9.0, 2.0, math.nan)[None]
    mask = torch.tensor([[True, True, False]])
    assert soft_q_target(rewards, values, mask, 1.0)[0].tolist() == pytest.approx([2.1, 0.2, 0.0])


def test_expectile_weighs_what_is_above_and_below() -> None:
    assert expectile_loss(double(2.0, -3.0, 0.0), 0.9).tolist() == pytest.approx([3.6, 0.9, 0.0])


def test_the_minimizer_is_the_expectile() -> None:
    """0.9 (1 − v) = 0.1 · 3 v, so that v = 0.75 is the 0.9-expectile of 1 and three times 0."""
    value = double(0.75).requires_grad_()
    expectile_loss(double(1.0, 0.0, 0.0, 0.0) - value, 0.9).sum().backward()
    assert value.grad is not None
    assert float(value.grad) == pytest.approx(0.0, abs=1e-12)


def test_the_penalty_is_a_cross_entropy_of_the_values() -> None:
    """With a uniform prior it is that of CQL and ILQL, but for log 3 of the prior itself."""
    q, chosen = double(0.3, -1.0, 0.7), 2
    uniform = torch.full((3,), -math.log(3.0), dtype=torch.float64)
    found = conservative_penalty(q[chosen], soft_value(q, uniform, 2.0), 2.0)
    expected = cross_entropy(q[None] / 2.0, torch.tensor([chosen])) - math.log(3.0)
    assert float(found) == pytest.approx(float(expected), abs=1e-12)


def test_suffix_residuals() -> None:
    """V = (1, 2), r = (0.5, 3), log-ratios (1, −2), beta 0.5, γ 0.5.

    The last: 2 − (3 + 1) = −2; the first: 1 − (0.5 − 0.5 + 0.5 · 4) = −1.
    """
    found = suffix_residuals(
        double(1.0, 2.0, 8.0)[None],
        double(0.5, 3.0, 8.0)[None],
        double(1.0, -2.0, 8.0)[None],
        torch.tensor([[True, True, False]]),
        double(0.5),
        0.5,
        holds_later=False,
    )
    assert found[0].tolist() == pytest.approx([-1.0, -2.0, 0.0])


@pytest.mark.parametrize(("holds_later", "slope"), [(False, [1.0, 1.5]), (True, [1.0, 1.0])])
def test_later_ratios_may_be_held(holds_later: bool, slope: list[float]) -> None:
    """Each residual has the slope beta in its own log-ratio, and γ beta in the next one."""
    log_ratio = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    zeros, mask = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool)
    residuals = suffix_residuals(
        zeros, zeros, log_ratio, mask, double(1.0), 0.5, holds_later=holds_later
    )
    residuals.sum().backward()
    assert log_ratio.grad is not None
    assert log_ratio.grad[0].tolist() == slope


@pytest.mark.parametrize("gamma", [1.0, 0.7])
@pytest.mark.parametrize("task", [load_task("toy15"), random_task()], ids=["toy15", "random"])
def test_swept_from_the_leaves_they_are_the_exact_values(task: Task, gamma: float) -> None:
    exact = solve(task, 0.4, gamma).values
    reference = _reference_logprobs(task, list(exact))
    values = dict.fromkeys(exact, 0.0)
    for _ in range(task.max_new_tokens):
        values = {p: _backed_up(task, p, values, reference[p], gamma) for p in values}
    assert values == pytest.approx(dict(exact), abs=1e-12)


def _backed_up(
    task: Task, prefix: Prefix, values: dict[Prefix, float], reference: Tensor, gamma: float
) -> float:
    """One soft backup: a row for each token, its reward and the state that it leads to."""
    rewards, following = torch.zeros(2, 3, 2, dtype=torch.float64)
    mask = torch.ones(3, 2, dtype=torch.bool)
    for token in range(3):
        said = (*prefix, token)
        if token == task.eos_id or len(said) == task.max_new_tokens:
            scored = task.reward([task.prompts[0]], [torch.tensor(said)])
            rewards[token, 0], mask[token, 1] = float(scored[0]), False
        else:
            following[token, 1] = values[said]
    q = soft_q_target(rewards, following, mask, gamma)[:, 0]
    return float(soft_value(q, reference, 0.4))


def _reference_logprobs(task: Task, prefixes: list[Prefix]) -> dict[Prefix, Tensor]:
    found = {}
    for prefix in prefixes:
        tokens = torch.cat([task.prompts[0], torch.tensor(prefix, dtype=torch.int64)])
        logits = task.reference(input_ids=tokens[None]).logits[0, -1, : task.vocab_size]
        found[prefix] = logits.detach().double().log_softmax(dim=-1)
    return found
