"""The KL coefficient of an agent: fixed, steered towards a target, or the environment's."""

from __future__ import annotations

from agents.config import AgentConfig
from agents.evaluation.metrics import mean_kl
from agents.math import adaptive_kl_coef
from rlhf_env.checks import check_number
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv


class KLCoefficient:
    """Keeps an agent's coefficient; it reads the environment's and never changes it."""

    def __init__(self, config: AgentConfig, base: RLHFVectorEnv) -> None:
        """Start from ``config.kl_coef``.

        Args:
            config: the agent's settings.
            base: its coefficient applies as long as the agent has none of its own.

        Raises:
            ValueError: if ``config.kl_target`` is to be reached from a coefficient of 0.
        """
        self._config, self._base = config, base
        self._own = config.kl_coef
        if config.kl_target is not None and self.value == 0:
            raise ValueError(
                "kl_target multiplies the KL coefficient, which is 0 and would stay so; "
                "set kl_coef to where the search should begin, such as 0.1"
            )

    @property
    def value(self) -> float:
        """Beta of the next rollout; settable."""
        return self._base.kl_coef if self._own is None else self._own

    @value.setter
    def value(self, value: float) -> None:
        check_number("kl_coef", value, minimum=0.0)
        self._own = float(value)

    def update(self, rollout: Rollout) -> None:
        """Move the coefficient of the next rollouts towards the target, if there is one."""
        config = self._config
        if config.kl_target is None:
            return
        self.value = adaptive_kl_coef(
            self.value,
            observed=mean_kl(rollout, config.kl_target_unit),
            target=config.kl_target,
            episodes=len(rollout),
            horizon=config.kl_horizon,
        )
