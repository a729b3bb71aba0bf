"""Names of devices and floating-point types."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
import torch

from rlhf_env.engine.placement import resolve_device, resolve_dtype, sent


def test_names() -> None:
    gpu = torch.cuda.is_available()
    assert resolve_device("auto") == torch.device("cuda" if gpu else "cpu")
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_dtype("auto") is None
    assert resolve_dtype("bfloat16") == resolve_dtype(torch.bfloat16) == torch.bfloat16


@pytest.mark.parametrize("device", ["gpu", 1.5, None, ""])
def test_not_a_device(device: Any) -> None:
    with pytest.raises(ValueError, match='device must be "auto", "cpu" or "cuda", got'):
        resolve_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_no_gpu() -> None:
    with pytest.raises(ValueError, match='there is no GPU here; use "cpu"'):
        resolve_device("cuda")


@pytest.mark.parametrize("dtype", ["int64", "float33", "nn", torch.int64, None])
def test_not_a_floating_point_type(dtype: Any) -> None:
    with pytest.raises(ValueError, match='dtype must be "auto", "float32" or "bfloat16", got'):
        resolve_dtype(dtype)


def test_memory_is_locked_on_the_way_from_a_cpu_to_a_gpu() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    numbers = torch.arange(3)
    assert torch.equal(sent(numbers, cpu), numbers)
    tensor = Mock(device=cpu)
    assert sent(tensor, gpu) is tensor.pin_memory.return_value.to.return_value
    tensor.pin_memory.return_value.to.assert_called_once_with(gpu, non_blocking=True)
    there = Mock(device=gpu)
    assert sent(there, gpu) is there.to.return_value
    there.pin_memory.assert_not_called()
