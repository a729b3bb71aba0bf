"""The settings that agents with a critic share."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.discount import check_gradient_form
from agents.settings.policy_gradient import PolicyGradientConfig
from rlhf_env.checks import check_choice, check_number

CRITICS = ("shared", "separate")


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(PolicyGradientConfig):
    """Settings of agents with a critic, besides those of `PolicyGradientConfig`.

    Each discount has an output of the critic of its own.
    """

    gradient_form: str = "standard"
    """"standard", or "discounted", which weighs the t-th decision by gamma^t."""

    gae_lambda: float = 0.95
    """In [0, 1]; 1 is unbiased whatever the critic predicts."""

    value_clip_range: float | None = None
    """Keeps the critic near its old values; None does not."""

    whiten_advantages: bool = True
    """Give the advantages of a rollout mean 0 and standard deviation 1."""

    whiten_rewards: bool = False
    """Divide the rewards of a rollout's decisions by their standard deviation."""

    critic: str = "shared"
    """"shared", a value head on the policy's trunk; or "separate", a copy of the model."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_gradient_form(self)
        self._refuse_constant()
        check_choice("critic", self.critic, CRITICS)
        check_number("gae_lambda", self.gae_lambda, minimum=0.0, maximum=1.0)
        if self.value_clip_range is not None:
            check_number("value_clip_range", self.value_clip_range, minimum=1e-6)
