"""The settings that agents with a critic share."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.discount import check_gradient_form
from agents.settings.policy_gradient import PolicyGradientConfig
from rlhf_env.checks import check_choice, check_count, check_number

MONTE_CARLO = "monte_carlo"
CRITICS = ("shared", "separate", MONTE_CARLO)


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(PolicyGradientConfig):
    """Settings of agents with a critic, besides those of `PolicyGradientConfig`.

    Each discount has an output of the critic of its own.
    """

    gradient_form: str = "standard"
    """"standard", or "discounted", which weighs the t-th decision by gamma^t."""

    gae_lambda: float = 0.95
    """Lambda of the policy's advantages, in [0, 1]; 1 is unbiased whatever the critic predicts."""

    critic_gae_lambda: float | None = None
    """Lambda of what the critic should have predicted, apart from the policy's: 1 are the returns
    themselves, which an untrained critic cannot spoil (VC-PPO, arXiv:2503.01491). None takes the
    policy's."""

    length_adaptive_lambda: float | None = None
    """alpha of lambda = 1 - 1/(alpha l) for an episode of l decisions, at least 0, in place of
    ``gae_lambda`` (VAPO, arXiv:2504.05118, whose alpha is 0.05). None keeps ``gae_lambda``."""

    value_clip_range: float | None = None
    """Keeps the critic near its old values; None does not."""

    whiten_advantages: bool = True
    """Give the advantages of a rollout mean 0 and standard deviation 1."""

    whiten_rewards: bool = False
    """Divide the rewards of a rollout's decisions by their standard deviation."""

    critic: str = "shared"
    """"shared", a value head on the policy's trunk; "separate", a copy of the model; or
    "monte_carlo", no model at all: the mean return of ``critic_rollouts`` continuations from every
    decision by the current policy (VinePPO, arXiv:2410.01679, which has ``gae_lambda=0``). Nothing
    is learned then, so ``value_coef`` has no part."""

    critic_rollouts: int = 8
    """Continuations of each decision, for ``critic="monte_carlo"``; what they cost is
    ``critic_tokens`` in the metrics."""

    critic_warmup_updates: int = 0
    """Updates at the beginning in which only the critic learns, and the policy stays as it is
    (VC-PPO's pretraining of the value, arXiv:2503.01491)."""

    critic_learning_rate: float | None = None
    """Adam's learning rate of the critic: of its value head, and of its model if it has one. None
    takes the policy's."""

    critic_truth: bool = False
    """Log how far the critic is from the exact value of the current policy, where that can be
    computed: ``critic_bias``, ``critic_rmse`` and ``critic_explained_variance``."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_gradient_form(self)
        self._refuse_constant()
        check_choice("critic", self.critic, CRITICS)
        check_number("gae_lambda", self.gae_lambda, minimum=0.0, maximum=1.0)
        if self.value_clip_range is not None:
            check_number("value_clip_range", self.value_clip_range, minimum=1e-6)
        if self.critic_gae_lambda is not None:
            check_number("critic_gae_lambda", self.critic_gae_lambda, minimum=0.0, maximum=1.0)
        if self.length_adaptive_lambda is not None:
            check_number("length_adaptive_lambda", self.length_adaptive_lambda, minimum=1e-6)
        check_count("critic_rollouts", self.critic_rollouts)
        check_count("critic_warmup_updates", self.critic_warmup_updates, minimum=0)
        if self.critic_learning_rate is not None:
            check_number("critic_learning_rate", self.critic_learning_rate, minimum=0.0)
        if self.is_monte_carlo:
            self._refuse_learning()

    @property
    def is_monte_carlo(self) -> bool:
        """Whether values are means of continuations, and nothing learns to predict them."""
        return self.critic == MONTE_CARLO

    @property
    def can_bootstrap(self) -> bool:
        """Whether there is a critic that completes the return of a truncated episode."""
        return not self.is_monte_carlo

    def _refuse_learning(self) -> None:
        """Raise ValueError for settings of a critic that learns."""
        for name, default in _OF_LEARNING.items():
            if (given := getattr(self, name)) != default:
                raise ValueError(
                    f'{name} is for a critic that learns, got {given!r} with critic="monte_carlo"; '
                    'leave it out, or take "shared" or "separate"'
                )
        if self.whiten_rewards:
            raise ValueError(
                "whiten_rewards divides the rewards of a rollout by their own deviation, which "
                'continuations do not share, got critic="monte_carlo"; leave one of them out'
            )


_OF_LEARNING = {
    "critic_gae_lambda": None,
    "critic_warmup_updates": 0,
    "critic_learning_rate": None,
    "value_clip_range": None,
}
