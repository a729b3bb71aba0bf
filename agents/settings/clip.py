"""The settings of agents that clip the ratio of probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from agents.settings.policy_gradient import PolicyGradientConfig
from rlhf_env.checks import check_number


class Clip(NamedTuple):
    """Where the surrogate of a decision stops to follow the ratio rho of its probabilities."""

    low: float = 1.0
    """epsilon below 1, for negative advantages; 1 clips nothing, as no ratio is below 0."""
    high: float = math.inf
    """epsilon above 1, for positive advantages."""
    dual: float | None = None
    """c, the ratio at which negative advantages stop to count more (arXiv:1912.09729)."""


UNCLIPPED = Clip()
"""Follows every ratio."""


@dataclass(frozen=True, kw_only=True)
class ClippedConfig(PolicyGradientConfig):
    """Settings of agents with a clipped surrogate, besides those of `PolicyGradientConfig`."""

    clip_range: float | None = 0.2
    """epsilon of the clipped surrogate below 1."""

    clip_range_high: float | None = None
    """epsilon above 1 (DAPO's clip-higher, arXiv:2503.14476); the same when None."""

    dual_clip: float | None = None
    """c > 1: a negative advantage counts at most c times, however likely the decision has become
    (dual-clip PPO, arXiv:1912.09729). None bounds nothing there, as in PPO."""

    @property
    def clip(self) -> Clip:
        """The three of them."""
        if self.clip_range is None:
            return UNCLIPPED._replace(dual=self.dual_clip)
        high = self.clip_range if self.clip_range_high is None else self.clip_range_high
        return Clip(low=self.clip_range, high=high, dual=self.dual_clip)

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if self.clip_range is not None:
            check_number("clip_range", self.clip_range, minimum=1e-6, maximum=1.0)
        if self.clip_range_high is not None:
            check_number("clip_range_high", self.clip_range_high, minimum=1e-6)
            if self.clip_range is None:
                raise ValueError(
                    "clip_range_high widens the clip of clip_range upwards, got "
                    f"{self.clip_range_high} with clip_range = None; set both, or neither"
                )
        if self.dual_clip is not None:
            check_number("dual_clip", self.dual_clip, minimum=1.0)
            if self.dual_clip == 1.0:
                raise ValueError(
                    "dual_clip must be greater than 1, where the policy itself would be clipped, "
                    f"got {self.dual_clip}; the authors take 3"
                )

    def _require_clip(self) -> None:
        """Raise ValueError where an agent must have a clip and has none."""
        check_number("clip_range", self.clip_range, minimum=1e-6, maximum=1.0)
