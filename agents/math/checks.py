"""Checks on the shapes and types of tensors that formulas are given."""

from __future__ import annotations

import torch
from torch import Tensor


def check_shapes(function: str, ndim: int | None = None, **tensors: Tensor) -> None:
    """Refuse tensors of different shapes, which would broadcast silently.

    Args:
        function: its name, for the error message.
        ndim: the number of dimensions that all must have, any when None; before 2 there may be
            more, of runs.
        **tensors: by the names of their arguments; those called ``mask`` must be bool, those
            called ``group`` integers, and others floating-point.

    Raises:
        ValueError: if shapes or types do not match; the message names all shapes.
    """
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}
    sizes = {len(shape) for shape in shapes}
    is_right = ndim is None or ndim in sizes or (ndim == 2 and max(sizes) > 2)
    if len(shapes) > 1 or not is_right:
        expected = "one shape" if ndim is None else f"one shape of {ndim} dimensions"
        got = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"{function} needs tensors of {expected}, got {got}")
    for name, tensor in tensors.items():
        _check_dtype(function, name, tensor.dtype)


def check_row_values(function: str, *rows: int, **tensors: Tensor) -> None:
    """Refuse tensors that do not hold one number for each of some rows.

    Raises:
        ValueError: unless each has the shape ``rows``, one number or the runs' before it.
    """
    for name, tensor in tensors.items():
        if tensor.shape != rows:
            raise ValueError(
                f"{function} needs {name} of shape {list(rows)}, one number for each row, got "
                f"{list(tensor.shape)}"
            )
        _check_dtype(function, name, tensor.dtype)


def _check_dtype(function: str, name: str, dtype: torch.dtype) -> None:
    if name == "mask":
        expected, is_right = "bool", dtype == torch.bool
    elif name == "group":
        is_right = not dtype.is_floating_point and not dtype.is_complex and dtype != torch.bool
        expected = "an integer type"
    else:
        expected, is_right = "a floating-point type", dtype.is_floating_point
    if not is_right:
        raise ValueError(f"{function} needs {name} of {expected}, got {dtype}")
