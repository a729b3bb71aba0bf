"""The settings of REINFORCE and its baselines."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.agent import AgentConfig
from agents.settings.aggregation import check_aggregation
from agents.settings.discount import Discount, check_discount, check_gradient_form
from rlhf_env.checks import check_choice, check_number

BASELINES = ("none", "batch_mean", "value", "greedy")


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(AgentConfig):
    """Settings of `Reinforce`, besides those of `AgentConfig`.

    Further steps on one rollout weigh it by the ratio of probabilities, which nothing clips.
    """

    gamma: Discount = 1.0
    """Discount per decision, in [0, 1]; or one for each reward term by name, each with a baseline
    of its own."""

    gradient_form: str = "standard"
    """"standard", or "discounted", which weighs the t-th decision by gamma^t."""

    baseline: str = "batch_mean"
    """"none"; "batch_mean", the mean return over all decisions of the rollout; "value", a value
    head on the policy's trunk; or "greedy", the return of the most likely response to the same
    prompt, KL included, which has to be decoded too."""

    aggregation: str = "decision_mean"
    """"decision_mean" weighs all decisions of a rollout alike, "episode_mean" all episodes, and
    "sum" adds up an episode's decisions, as the policy gradient does."""

    value_coef: float = 0.5
    """Weight of the value head's squared error, for ``baseline="value"``."""

    @property
    def can_bootstrap(self) -> bool:
        """Whether the baseline is a critic, which can complete a truncated return."""
        return self.baseline == "value"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_discount(self.gamma)
        check_gradient_form(self)
        check_aggregation(self.aggregation)
        check_choice("baseline", self.baseline, BASELINES)
        check_number("value_coef", self.value_coef, minimum=0.0)
