"""A hash of weights, by which two models are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def weights_digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of some weights with their names, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in named:
        # As bytes first: NumPy does not have all of torch's types.
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu()
        digest.update(name.encode())
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()
