"""The settings of agents that compare the responses to one prompt: GRPO, its variants, RLOO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.settings.clip import ClippedConfig
from agents.settings.discount import check_gradient_form
from rlhf_env.checks import check_choice, check_count

GROUP_BASELINES = ("episode", "turn")
RATIOS = ("decision", "episode")


@dataclass(frozen=True, kw_only=True)
class GroupConfig(ClippedConfig):
    """Settings of agents whose baseline is the group, besides those of `ClippedConfig`."""

    gradient_form: str = "discounted"
    """"discounted" gives all decisions of an episode its discounted return, which follows the
    gradient of the discounted objective; "standard" gives each decision the return from there on.
    The baseline is of the group's returns of whole episodes either way."""

    group_size: int = 2
    """Responses to each drawn prompt, at least 2."""

    group_baseline: str = "episode"
    """What is compared within a group: the returns of whole "episode"s; or of each "turn" what it
    was paid, with the same turn of the others (MT-GRPO, arXiv:2505.11821), which is biased where
    the policy decides when to stop; see `agents.algorithms.turn_advantages`. Needs gamma 1, or
    ``discount_unit="turn"``."""

    @property
    def can_bootstrap(self) -> bool:
        """False: without a critic a truncated return cannot be completed."""
        return False

    def __post_init__(self) -> None:
        """Refuse values outside their range, and groups that do not fill a rollout."""
        super().__post_init__()
        check_gradient_form(self)
        check_count("group_size", self.group_size, minimum=2)
        check_choice("group_baseline", self.group_baseline, GROUP_BASELINES)
        is_per_decision = self.gamma != 1.0 and self.discount_unit == "decision"
        if self.group_baseline == "turn" and (is_per_decision or isinstance(self.gamma, Mapping)):
            raise ValueError(
                f'group_baseline="turn" needs gamma=1 or one discount per turn, got {self.gamma} '
                f'per {self.discount_unit}; set discount_unit="turn"'
            )


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(GroupConfig):
    """Settings of `GRPO`, besides those of `GroupConfig`."""

    group_size: int = 8

    ratio: str = "decision"
    """Of each "decision", or of the whole "episode" to the power of 1/length (GSPO)."""

    scale_by_std: bool = True
    """Divide by the group's standard deviation (GRPO) or not (Dr. GRPO)."""

    skip_unfinished: bool = False
    """Exclude responses cut off by the length limit from the loss (DAPO's overlong filtering)."""

    dynamic_sampling: bool = False
    """Draw further prompts in place of groups whose scores are all equal (DAPO)."""

    max_draws: int = 4
    """Maximum number of rollouts to draw for one update under ``dynamic_sampling``."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and groups that do not fill a rollout."""
        super().__post_init__()
        self._require_clip()
        check_choice("ratio", self.ratio, RATIOS)
        check_count("max_draws", self.max_draws)


@dataclass(frozen=True, kw_only=True)
class DrGRPOConfig(GRPOConfig):
    """`GRPOConfig` without division by deviation or length (arXiv:2503.20783)."""

    scale_by_std: bool = False
    aggregation: str = "constant"


@dataclass(frozen=True, kw_only=True)
class DAPOConfig(GRPOConfig):
    """`GRPOConfig` with a higher upper clip and dynamic sampling (arXiv:2503.14476).

    The soft punishment of overlong responses is a reward: `wrappers` has it.
    """

    clip_range_high: float | None = 0.28
    dynamic_sampling: bool = True


@dataclass(frozen=True, kw_only=True)
class GSPOConfig(GRPOConfig):
    """`GRPOConfig` with the ratio of whole responses, and its narrow clip (arXiv:2507.18071)."""

    ratio: str = "episode"
    clip_range: float | None = 3e-4
    clip_range_high: float | None = 4e-4
    aggregation: str = "episode_mean"


@dataclass(frozen=True, kw_only=True)
class RLOOConfig(GroupConfig):
    """Settings of `RLOO`, besides those of `GroupConfig`."""

    group_size: int = 4

    clip_range: float | None = None
    """epsilon of the clipped surrogate below 1. None clips nothing: one step per rollout is then
    REINFORCE, and further ones weigh it by the ratio of probabilities."""

    whiten_advantages: bool = False
    """Give the advantages of a rollout mean 0 and standard deviation 1."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and groups that do not fill a rollout."""
        super().__post_init__()
        self._refuse_constant()
