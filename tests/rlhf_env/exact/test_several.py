"""Many policies evaluated at once, against each evaluated alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlhf_env import exact, load_task
from rlhf_env.exact.several import ManyPolicies


def test_the_reference_and_the_optimum_of_toy15_have_the_known_objectives() -> None:
    task = load_task("toy15")
    many = ManyPolicies.of(task)
    best = np.log(np.array(list(exact.solve(task, 0.5).policy.values())))
    found = many.objectives(np.stack([best, many.ref_logprobs]), np.array([0.5, 0.5]))
    assert found.tolist() == pytest.approx([1.125294532232058, 0.03959485960], abs=1e-9)


@pytest.mark.parametrize("name", ["toy15", "delay-5", "chain-4"])
def test_each_objective_is_that_of_the_policy_alone(name: str) -> None:
    task = load_task(name)
    many = ManyPolicies.of(task)
    shape = (3, *many.ref_logprobs.shape)
    generator = torch.Generator().manual_seed(0)
    logprobs = torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1)
    coefs = np.array([0.0, 0.1, 1.0])
    found = many.objectives(logprobs.numpy(), coefs)
    for table, coef, objective in zip(logprobs.exp(), coefs, found, strict=True):
        if many.tree is None:
            alone = exact.evaluate(task, table[0], coef)
        else:
            policy = dict(zip(many.tree.states, table.tolist(), strict=True))
            alone = exact.evaluate(task, policy, coef)
        assert objective == pytest.approx(alone.objective, abs=1e-12)
