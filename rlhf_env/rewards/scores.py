"""The check of what a reward answers."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import torch
from torch import Tensor


def as_scores(answer: Any, count: int, name: str) -> Tensor:
    """Return ``count`` finite scores as float32, or raise naming what is wrong."""
    expected = f"reward {name} must return {count} finite numbers"
    try:
        numbers = torch.as_tensor(answer).detach()
        if numbers.is_complex() or numbers.layout != torch.strided:
            raise TypeError("complex or sparse numbers")
        scores = numbers.to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}, got {_first_flaw(answer)}") from error
    if scores.shape != (count,):
        raise ValueError(f"{expected}, got shape {list(scores.shape)}")
    for index, value in enumerate(scores.tolist()):
        if not math.isfinite(value):
            raise ValueError(f"{expected}, got {value} for response {index} of the batch")
    return scores


def _first_flaw(answer: Any) -> str:
    """Return the first non-numeric score, or the answer itself."""
    for index, value in enumerate(answer if isinstance(answer, list | tuple) else ()):
        try:
            is_number = torch.as_tensor(value).numel() == 1
        except (TypeError, ValueError, RuntimeError):
            is_number = False
        if not is_number:
            return f"{reprlib.repr(value)} for response {index} of the batch"
    return f"{type(answer).__name__}: {reprlib.repr(answer)}"
