"""The settings that keep a policy from losing its entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.settings.agent import AgentConfig
from rlhf_env.checks import check_number, check_positive


@dataclass(frozen=True, kw_only=True)
class EntropyConfig(AgentConfig):
    """Settings of entropy control, besides those of `AgentConfig`.

    At most one of ``clip_cov_fraction`` and ``kl_cov_fraction`` may be set.
    """

    entropy_target: float | None = None
    """Entropy in nats per token below which ``entropy_coef`` is raised by ``entropy_coef_step``
    after every update, and above which it is lowered; the bonus is paid only below
    (arXiv:2505.22312). None leaves ``entropy_coef`` as it is."""

    entropy_coef_step: float = 0.005
    """By how much ``entropy_target`` moves ``entropy_coef``, which is where it begins."""

    entropy_coef_max: float = 1.0
    """The most that it may become; the least is 0."""

    clip_cov_fraction: float | None = None
    """Clip-Cov (arXiv:2505.22617): this share of a rollout's decisions, at least one, is drawn from
    those whose covariance of log-probability and advantage is inside ``clip_cov_band``, and
    has no gradient. The authors take 2e-4. None leaves out none."""

    clip_cov_band: tuple[float, float] = (1.0, 5.0)
    """Lower and upper bound of these covariances."""

    kl_cov_fraction: float | None = None
    """KL-Cov (arXiv:2505.22617): of this share of decisions, those of the largest covariance, the
    loss has ``kl_cov_coef`` times |log pi/pi_old| more. It acts from the second step on a rollout
    on. The authors take 2e-3 to 2e-4. None penalizes none."""

    kl_cov_coef: float = 1.0
    """Weight of that penalty."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and settings that would do nothing."""
        super().__post_init__()
        if self.entropy_target is not None:
            check_number("entropy_target", self.entropy_target, minimum=0.0)
        check_positive("entropy_coef_step", self.entropy_coef_step)
        check_number("entropy_coef_max", self.entropy_coef_max, minimum=0.0)
        if self.entropy_target is not None and self.entropy_coef > self.entropy_coef_max:
            raise ValueError(
                "entropy_coef must be at most entropy_coef_max where entropy_target moves it, got "
                f"{self.entropy_coef} and {self.entropy_coef_max}; lower it"
            )
        for name in ("clip_cov_fraction", "kl_cov_fraction"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), minimum=1e-9, maximum=1.0)
        check_positive("kl_cov_coef", self.kl_cov_coef)
        # A checkpoint's JSON has lists, and settings are compared.
        object.__setattr__(self, "clip_cov_band", _checked_band(self.clip_cov_band))
        self._check_covariance()

    def _check_covariance(self) -> None:
        if self.kl_cov_fraction is None:
            return
        if self.clip_cov_fraction is not None:
            raise ValueError(
                "clip_cov_fraction and kl_cov_fraction treat the same decisions in two ways, got "
                f"{self.clip_cov_fraction} and {self.kl_cov_fraction}; leave one out"
            )
        if self.is_single_step:
            raise ValueError(
                "kl_cov_fraction penalizes leaving the policy that acted, which the first step on "
                "a rollout cannot do, got epochs = 1 and minibatches = 1; raise one of them, or "
                "take clip_cov_fraction"
            )


def _checked_band(band: Any) -> tuple[float, float]:
    is_pair = isinstance(band, tuple | list) and len(band) == 2
    if not is_pair or not band[0] < band[1]:
        raise ValueError(
            f"clip_cov_band must be two numbers, the smaller one first, got {band!r}; the authors' "
            "is (1.0, 5.0)"
        )
    return float(band[0]), float(band[1])
