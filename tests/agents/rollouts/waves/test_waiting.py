"""No operation of a step makes the host wait, and those that would are found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.policy import Policy
from agents.rollouts.waves.waiting import Waits
from tests.agents.rollouts.waves.some import MODELS, a_wave

CPU = torch.device("cpu")
WAITING: dict[str, Callable[[Tensor], object]] = {
    "aten._local_scalar_dense.default": lambda x: bool((x > 0).any()),
    "aten.nonzero.default": lambda x: (x > 0).nonzero(),
    "aten.index.Tensor": lambda x: x[x > 0],
    "aten.index_put_.default": lambda x: x.index_put_((x > 0,), x.new_zeros(())),
    "aten.masked_select.default": lambda x: x.masked_select(x > 0),
    "aten.equal.default": lambda x: torch.equal(x, x),
    "aten.allclose.default": lambda x: torch.allclose(x, x),
    "aten._unique2.default": lambda x: x.unique(),
    "aten.repeat_interleave.Tensor": lambda x: x.repeat_interleave((x > 0).long()),
    # From Python's numbers, and to another device.
    "aten.lift_fresh.default": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "aten._to_copy.default": lambda x: x.to("meta"),
}


@pytest.mark.parametrize("is_inference", [False, True])
@pytest.mark.parametrize("name", WAITING)
def test_what_waits_is_found(name: str, is_inference: bool) -> None:
    values = torch.tensor([-1.0, 2.0, 3.0])
    with torch.inference_mode(is_inference), Waits(CPU) as waits:
        WAITING[name](values)
    assert name in waits.found


def test_what_does_not_wait_is_not() -> None:
    values, rows = torch.tensor([[-1.0, 2.0, 3.0]] * 2), torch.tensor([1, 0])
    with torch.inference_mode(), Waits(CPU) as waits:
        picked = values[rows[:, None], torch.arange(2)]
        values[rows, :, None] = picked[:, :1, None] / 0.7
        values[:, 1:] += torch.where(values[:, 1:] > 0, picked, 0.0)
        values.masked_fill_(values < 0, 0.0).half().float().cumsum(dim=1)
    assert waits.found == []


def test_another_device_is_none_of_its_business() -> None:
    """On a GPU a model may look at a number that is on the host."""
    with Waits(torch.device("cuda")) as waits:
        bool(torch.tensor(1.0) > 0)
    assert waits.found == []


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("greedy", [False, True])
def test_a_step_waits_for_nothing(name: str, temperature: float, greedy: bool) -> None:
    model = MODELS[name](seed=1)
    wave = a_wave(Policy(model, model.config.vocab_size, temperature), greedy=greedy)
    with torch.inference_mode(), Waits(CPU) as waits:
        wave.step(12)
    assert waits.found == []
    assert int(wave.drawn) == 2
