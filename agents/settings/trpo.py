"""The settings of trust region policy optimization."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.actor_critic import ActorCriticConfig
from agents.settings.agent import AgentConfig
from rlhf_env.checks import check_count, check_number, check_positive


@dataclass(frozen=True, kw_only=True)
class TrustRegionConfig(AgentConfig):
    """Settings of a trust region, besides those of `AgentConfig`."""

    max_kl: float = 0.01
    """Bound on KL(old || new) of one update, in nats, mean over decisions and exact over the
    vocabulary; the KL of a decision is the sum of its tokens' KLs. 0 changes nothing."""

    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""

    cg_iterations: int = 10
    """Maximum number of conjugate gradient steps for the natural direction."""

    max_backtracks: int = 10
    """How often a step that is too long is shortened before the search fails."""

    backtrack_factor: float = 0.5
    """The factor by which a step is shortened."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and settings that a trust region cannot honor."""
        super().__post_init__()
        check_number("max_kl", self.max_kl, minimum=0.0)
        check_positive("damping", self.damping)
        check_count("cg_iterations", self.cg_iterations)
        check_count("max_backtracks", self.max_backtracks, minimum=0)
        check_number("backtrack_factor", self.backtrack_factor, minimum=1e-6, maximum=1 - 1e-6)
        if self.ptx_coef:
            raise ValueError(
                f"a trust region knows no pretraining loss, got ptx_coef = {self.ptx_coef}; "
                "leave it out, or use PPO"
            )
        if self.precision != "fp32":
            raise ValueError(
                f"a trust region compares losses that differ by less than 16 bits can tell, got "
                f"precision = {self.precision!r}; use 'fp32'"
            )


@dataclass(frozen=True, kw_only=True)
class TRPOConfig(ActorCriticConfig, TrustRegionConfig):
    """Settings of `TRPO`: those of `ActorCriticConfig` and of `TrustRegionConfig`.

    ``learning_rate``, ``epochs``, ``minibatches`` and ``max_grad_norm`` are the critic's; the
    policy takes one step per rollout, whose length ``max_kl`` sets. With ``critic="shared"`` the
    critic is the linear head alone.
    """

    learning_rate: float = 1e-3
    epochs: int = 4
    minibatches: int = 4

    def __post_init__(self) -> None:
        """Refuse values outside their range, and settings that a trust region has already."""
        super().__post_init__()
        if self.critic_learning_rate is not None:
            raise ValueError(
                "TRPO's learning_rate is the critic's alone, got critic_learning_rate = "
                f"{self.critic_learning_rate}; set learning_rate"
            )
        if self.kl_cov_fraction is not None:
            raise ValueError(
                "a trust region bounds the KL of all decisions, got kl_cov_fraction = "
                f"{self.kl_cov_fraction}; lower max_kl, or take clip_cov_fraction"
            )
