"""Mean and covariance of weighted vectors that come in portions."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST_COVARIANCE = 1024


class Moments:
    """Adds up vectors [n, P] whose weights sum to 1 in the end."""

    def __init__(self, size: int) -> None:
        """Begin with nothing, for vectors of P numbers."""
        self.mean = torch.zeros(size, dtype=torch.float64)
        self._squares = torch.zeros(size, dtype=torch.float64)
        is_small = size <= _LARGEST_COVARIANCE
        self._products = torch.zeros(size, size, dtype=torch.float64) if is_small else None

    def add(self, vectors: Tensor, weight: Tensor) -> None:
        """Add vectors [n, P] with weights [n]."""
        self.mean += weight @ vectors
        self._squares += weight @ vectors.square()
        if self._products is not None:
            self._products += (weight[:, None] * vectors).T @ vectors

    @property
    def variance(self) -> Tensor:
        """[P]."""
        return (self._squares - self.mean.square()).clamp(min=0)

    @property
    def covariance(self) -> Tensor | None:
        """[P, P]; None for more than 1,024 numbers."""
        if self._products is None:
            return None
        return self._products - self.mean[:, None] * self.mean
