"""The KL penalty of an agent: seven settings in one record."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_env.checks import check_choice, check_count, check_number, check_positive

KL_PLACEMENTS = ("reward", "loss")
"""Where the penalty enters: the rewards, or the loss, by the gradient of its estimator."""

KL_ESTIMATORS = ("k1", "k2", "k3")
"""Names of the estimators; `agents.rollouts.kl_reward` has the functions."""

KL_TARGET_UNITS = ("sequence", "token")
"""Units of the target KL: the mean per sequence or per token."""

LARGEST_KL_ERROR = 0.2
"""The relative error of the KL at which the controller is clipped (arXiv:1909.08593)."""


@dataclass(frozen=True, kw_only=True)
class KLControl:
    """The settings ``kl_*`` of an agent, without the prefix; checked on construction."""

    coef: float | None = None
    """beta; None takes the environment's."""

    placement: str = "reward"
    """One of `KL_PLACEMENTS`."""

    estimator: str = "k1"
    """One of `KL_ESTIMATORS`."""

    importance_ratio: bool = False
    """Whether the KL in the loss is multiplied by the ratio of probabilities."""

    target: float | None = None
    """The KL towards which beta is steered, in nats; None leaves beta as it is."""

    target_unit: str = "sequence"
    """One of `KL_TARGET_UNITS`."""

    horizon: int = 10_000
    """Episodes over which a full error of the KL changes beta by 20 %."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.coef is not None:
            check_number("kl_coef", self.coef, minimum=0.0)
        check_choice("kl_placement", self.placement, KL_PLACEMENTS)
        check_choice("kl_estimator", self.estimator, KL_ESTIMATORS)
        check_choice("kl_target_unit", self.target_unit, KL_TARGET_UNITS)
        if self.target is not None:
            check_positive("kl_target", self.target)
        check_count("kl_horizon", self.horizon)

    @property
    def is_in_loss(self) -> bool:
        """Whether the loss holds the penalty, and the rewards do not."""
        return self.placement == "loss"

    def check_horizon(self, episodes: int) -> None:
        """Refuse a horizon at which one update of some episodes makes beta 0 or negative.

        Raises:
            ValueError: if beta is steered and ``episodes`` is five times the horizon or more.
        """
        if self.target is not None and LARGEST_KL_ERROR * episodes >= self.horizon:
            raise ValueError(
                "kl_horizon must be more than a fifth of the episodes per update, or the KL "
                f"coefficient turns 0 or negative, got kl_horizon = {self.horizon} for {episodes} "
                f"episodes; set kl_horizon to {episodes} or more"
            )
