"""The settings of REINFORCE and its baselines."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.discount import check_gradient_form
from agents.settings.policy_gradient import PolicyGradientConfig
from rlhf_env.checks import check_choice, check_number

BASELINES = ("none", "batch_mean", "value", "greedy")


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(PolicyGradientConfig):
    """Settings of `Reinforce`, besides those of `PolicyGradientConfig`.

    Further steps on one rollout weigh it by the ratio of probabilities, which nothing clips.
    """

    gradient_form: str = "standard"
    """"standard", or "discounted", which weighs the t-th decision by gamma^t."""

    baseline: str = "batch_mean"
    """"none"; "batch_mean", the mean return over all decisions of the rollout; "value", a value
    head on the policy's trunk; or "greedy", the return of the most likely response to the same
    prompt, KL included, which has to be decoded too."""

    value_coef: float = 0.5
    """Weight of the value head's squared error, for ``baseline="value"``."""

    @property
    def can_bootstrap(self) -> bool:
        """Whether the baseline is a critic, which can complete a truncated return."""
        return self.baseline == "value"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_gradient_form(self)
        self._refuse_constant()
        check_choice("baseline", self.baseline, BASELINES)
        check_number("value_coef", self.value_coef, minimum=0.0)
