"""The density "implicit": the exact optimum as a model, and where there is none."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rlhf_env import exact
from rlhf_env.task import Task
from studies.experiment.axes import Axes
from studies.experiment.checks import check_grid
from studies.experiment.grid import Budget
from studies.experiment.implicit_reward import optimal_policy


@pytest.mark.parametrize(("kl_coef", "expected"), [(0.5, 1.125295), (1.0, 0.499001)])
def test_the_model_is_the_optimum(toy15: Task, kl_coef: float, expected: float) -> None:
    found = exact.evaluate(toy15, optimal_policy(toy15, kl_coef), kl_coef)
    assert found.objective == pytest.approx(expected, abs=1e-6)


def test_other_tasks_are_refused(toy15: Task) -> None:
    two = dataclasses.replace(toy15, prompts=[*toy15.prompts] * 2)
    for task, kl_coef in ((two, 0.5), (toy15, 0.0)):
        with pytest.raises(ValueError, match="needs the exact optimum as a table"):
            optimal_policy(task, kl_coef)
    assert torch.equal(next(toy15.reference.parameters()), next(two.reference.parameters()))


@pytest.mark.parametrize(
    ("axes", "got"),
    [
        ({"task": ("reviews",)}, "'reviews' with kl_coef its own"),
        ({"kl_coef": (0.1, 0.0)}, "'toy15' with kl_coef 0.1, 0.0"),
    ],
)
def test_a_grid_of_other_tasks_is_refused(axes: dict[str, tuple[object, ...]], got: str) -> None:
    with pytest.raises(ValueError, match=rf"a task whose exact optimum .* got {got}"):
        check_grid(Axes(density=("implicit",), **axes), Budget())  # type: ignore[arg-type]
