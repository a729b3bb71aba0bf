"""The settings that agents share which follow a policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.settings.behavior import BehaviorConfig
from agents.settings.discount import Discount, check_discount
from agents.settings.entropy import EntropyConfig
from rlhf_env.checks import check_choice, check_number
from rlhf_env.defaults import DISCOUNT_UNITS

AGGREGATIONS = ("decision_mean", "episode_mean", "sum", "constant")
"""Names of the means; `agents.math.aggregation.aggregation_weights` has the formulas."""

IMPORTANCE = ("none", "token", "sequence", "geometric")
"""Corrections of the sampler; `agents.algorithms.importance` has the formulas."""


@dataclass(frozen=True, kw_only=True)
class PolicyGradientConfig(BehaviorConfig, EntropyConfig):
    """Settings of agents that follow a policy gradient, besides those of `EntropyConfig`."""

    gamma: Discount = 1.0
    """Discount per decision, in [0, 1]; or one for each reward term by name, each with a baseline
    of its own."""

    discount_unit: str = "decision"
    """What ``gamma`` is per: "decision", or "turn", the turns of a conversation or lines of a
    response; within a turn nothing is discounted. Lambda counts decisions either way."""

    aggregation: str = "decision_mean"
    """"decision_mean" weighs all decisions of a rollout alike, "episode_mean" all episodes (the
    original GRPO: decisions of long responses weigh less), "sum" adds up an episode's decisions,
    as the policy gradient does, and "constant" divides that sum by the horizon T (Dr. GRPO; only
    `GRPO` and its variants have it)."""

    importance: str = "none"
    """How episodes are weighed where ``Rollout.logprobs``, the sampler's, are not those of the
    policy at the beginning of the update: "none" takes them for the same; the ratio of each
    decision ("token", arXiv:1707.06347, biased), of the whole response ("sequence", unbiased), or
    the latter to the power of 1/length ("geometric", arXiv:2507.18071)."""

    importance_cap: float | None = None
    """Truncates the ratios from above (arXiv:1802.01561); None does not."""

    importance_band: tuple[float, float] | None = None
    """Leaves decisions out, or responses, whose ratio is outside; None leaves out none."""

    @property
    def corrects_sampler(self) -> bool:
        """Whether the policy that learns is told apart from the one that sampled."""
        return self.importance != "none"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_discount(self.gamma)
        check_choice("discount_unit", self.discount_unit, DISCOUNT_UNITS)
        check_choice("aggregation", self.aggregation, AGGREGATIONS)
        check_choice("importance", self.importance, IMPORTANCE)
        _ = self.behavior
        limits = {"importance_cap": self.importance_cap, "importance_band": self.importance_band}
        for name, limit in limits.items():
            if limit is not None and not self.corrects_sampler:
                raise ValueError(
                    f'{name} limits the ratios of importance, got {limit} with importance="none"; '
                    f"choose one of {list(IMPORTANCE[1:])}, or leave {name} out"
                )
        if self.importance_cap is not None:
            check_number("importance_cap", self.importance_cap, minimum=1.0)
        if self.importance_band is not None:
            # A checkpoint's JSON has lists, and settings are compared.
            object.__setattr__(self, "importance_band", _checked_band(self.importance_band))

    def _refuse_constant(self) -> None:
        """Raise ValueError for the one aggregation that needs the horizon."""
        check_choice("aggregation", self.aggregation, AGGREGATIONS[:-1])


def _checked_band(band: Any) -> tuple[float, float]:
    is_pair = isinstance(band, tuple | list) and len(band) == 2
    if not is_pair or not 0 <= band[0] <= 1 <= band[1]:
        raise ValueError(
            f"importance_band must be two numbers around 1, such as (0.5, 2.0), got {band!r}"
        )
    return float(band[0]), float(band[1])
