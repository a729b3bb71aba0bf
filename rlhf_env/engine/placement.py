"""Where a model runs and in which floating-point type, and how numbers get there."""

from __future__ import annotations

import torch
from torch import Tensor


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device of a given name.

    Args:
        device: "cpu", "cuda", "cuda:1", ...; "auto" is a GPU if there is one.

    Raises:
        ValueError: if there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f'device must be "auto", "cpu" or "cuda", got {device!r}') from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f'device is {device!r}, but there is no GPU here; use "cpu"')
    return resolved


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    """Return the floating-point type of a given name; None for "auto".

    Raises:
        ValueError: if it does not name a floating-point type.
    """
    if dtype == "auto":
        return None
    resolved = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(resolved, torch.dtype) or not resolved.is_floating_point:
        raise ValueError(f'dtype must be "auto", "float32" or "bfloat16", got {dtype!r}')
    return resolved


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor from the CPU to a GPU without waiting for it, or as ever between others."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
