"""V*(x) from samples, and its bias, on numbers worked out by hand and by enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from agents.off_policy.optimal_value import optimal_value, optimal_value_bias
from rlhf_env.exact import solve
from rlhf_env.exact.best_of_n import _response_logprobs
from rlhf_env.exact.enumerated import enumerate_task, model_logprobs
from rlhf_env.tasks import load_task


def test_one_half_correct() -> None:
    # 0.5 log((e^2 + 1) / 2)
    found = optimal_value(torch.tensor([1.0, 0.0], dtype=torch.float64), 0.5)
    assert float(found) == pytest.approx(0.716890, abs=1e-6)


def test_of_many_prompts_with_their_own_coefficients() -> None:
    returns = torch.tensor([[1.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
    found = optimal_value(returns, torch.tensor([0.5, 3.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.716890, 2.0], abs=1e-6)


def test_large_returns_do_not_overflow() -> None:
    assert float(optimal_value(torch.tensor([1000.0, 1000.0]), 0.001)) == 1000.0


def test_bias_of_a_coin() -> None:
    """One draw of 0 or 1 has the mean 0.5, and V* is log((1 + e) / 2) = 0.620115."""
    assert optimal_value_bias([0.0, 1.0], [0.5, 0.5], 1.0, 1) == pytest.approx(-0.120115, abs=1e-6)
    # Two draws: (0 + 2 · 0.620115 + 1) / 4 − 0.620115.
    assert optimal_value_bias([0.0, 1.0], [0.5, 0.5], 1.0, 2) == pytest.approx(-0.060057, abs=1e-6)


def test_many_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="40 draws of 7 different returns can fall in 9,366,819"):
        optimal_value_bias(range(7), [1 / 7] * 7, 1.0, 40)


def test_of_all_responses_it_is_the_value_of_the_prompt() -> None:
    scores, probabilities = reference_responses()
    exact = solve(load_task("toy15"), 0.5).values[()]
    assert 0.5 * math.log(probabilities @ np.exp(scores / 0.5)) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_bias_is_that_of_all_draws_of_responses(samples: int) -> None:
    """Every sequence of draws of the 15 responses, with its probability."""
    scores, probabilities = reference_responses()
    draws = np.array(list(itertools.product(range(len(scores)), repeat=samples)))
    found = optimal_value(torch.from_numpy(scores[draws]), 0.5).numpy()
    mean = probabilities[draws].prod(axis=1) @ found
    expected = mean - solve(load_task("toy15"), 0.5).values[()]
    bias = optimal_value_bias(scores, probabilities, 0.5, samples)
    assert bias == pytest.approx(expected, abs=1e-9)
    assert bias < 0


def reference_responses() -> tuple[np.ndarray, np.ndarray]:
    task = load_task("toy15")
    tree = enumerate_task(task, None)
    logprobs = _response_logprobs(tree, model_logprobs(tree, task.reference))
    return tree.scores, np.exp(logprobs)
