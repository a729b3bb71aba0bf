"""Group relative policy optimisation (arXiv:2402.03300) on decisions of any granularity.

Several responses to one prompt are each other's baseline; there is no critic. The advantage of
an episode is its discounted return relative to its group, so the gradient at gamma < 1 is that of
the discounted objective, and any reward density and granularity can be used.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.agent import Agent
from agents.config import AgentConfig
from agents.decisions import is_decision, sum_per_decision
from agents.math import discounted_returns, group_centered, group_relative
from agents.policy import Description
from agents.surrogate import SurrogateTargets, mean_over_decisions, surrogate_loss
from rlhf_env.language_model import LanguageModel
from rlhf_env.options import check_choice, check_count, check_number
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(AgentConfig):
    """Settings of `GRPO`, beside those of `AgentConfig`.

    Attributes:
        gamma: discount per decision, in [0, 1].
        group_size: responses to each drawn prompt, at least 2.
        clip_range: epsilon of the clipped surrogate below 1.
        clip_range_high: epsilon above 1; the same when None (DAPO clips higher above).
        scale_by_std: divide by the group's standard deviation (GRPO) or not (Dr. GRPO).
        aggregation: "decision_mean" weighs all decisions of a rollout alike, "episode_mean" all
            episodes (the original GRPO: decisions of long responses weigh less).
    """

    gamma: float = 1.0
    group_size: int = 8
    clip_range: float = 0.2
    clip_range_high: float | None = None
    scale_by_std: bool = True
    aggregation: str = "decision_mean"

    def __post_init__(self) -> None:
        """Refuse values outside their range, and groups that do not fill a rollout."""
        super().__post_init__()
        check_number("gamma", self.gamma, minimum=0.0, maximum=1.0)
        check_count("group_size", self.group_size, minimum=2)
        check_number("clip_range", self.clip_range, minimum=1e-6, maximum=1.0)
        if self.clip_range_high is not None:
            check_number("clip_range_high", self.clip_range_high, minimum=1e-6)
        check_choice("aggregation", self.aggregation, ("decision_mean", "episode_mean"))


@dataclass(frozen=True, kw_only=True)
class GRPOTargets(SurrogateTargets):
    """What GRPO aims at, beside `SurrogateTargets`.

    Attributes:
        equal_returns: [B] 1.0 where all episodes of the group have one return, and so teach
            nothing; else 0.0.
    """

    equal_returns: Tensor


@dataclass(frozen=True)
class GRPOAlgorithm:
    """Group-relative returns and the clipped surrogate."""

    config: GRPOConfig

    def targets(self, rollout: Rollout, old: Description, reference: LanguageModel) -> GRPOTargets:
        """Return the same advantage for all decisions of an episode.

        Raises:
            ValueError: if an episode was truncated: without a critic there is nothing to
                bootstrap from.
        """
        if not rollout.terminated.all():
            raise ValueError(
                "GRPO has no critic to bootstrap from, got truncated episodes; use PPO, or "
                'length_limit="score" or "penalize"'
            )
        mask = is_decision(rollout)
        rewards = sum_per_decision(rollout.rewards, rollout)
        returns = discounted_returns(rewards, mask, self.config.gamma)[:, 0]
        relative = group_relative if self.config.scale_by_std else group_centered
        by_episode = self.config.aggregation == "episode_mean"
        return GRPOTargets(
            advantages=relative(returns, rollout.group)[:, None].expand(mask.shape),
            logprobs=sum_per_decision(old.logprobs, rollout),
            mask=mask,
            weight=1.0 / mask.sum(dim=1) if by_episode else mean_over_decisions(mask),
            equal_returns=_are_equal(returns, rollout.group),
        )

    def loss(
        self, rollout: Rollout, new: Description, old: Description, targets: GRPOTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        high = self.config.clip_range_high
        loss, metrics = surrogate_loss(
            sum_per_decision(new.logprobs, rollout, targets.mask.shape[1]),
            targets,
            self.config.clip_range,
            self.config.clip_range if high is None else high,
        )
        return loss, metrics | {"equal_returns": targets.equal_returns}


def _are_equal(returns: Tensor, group: Tensor) -> Tensor:
    """Return [B] 1.0 where a group's returns are all the same, else 0.0."""
    is_elsewhere = group[:, None] != group
    return (is_elsewhere | (returns[:, None] == returns)).all(dim=1).to(returns.dtype)


class GRPO(Agent):
    """Group relative policy optimisation: the other responses to a prompt are the baseline.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> GRPO(envs, group_size=8).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config_class = GRPOConfig
    algorithm_class = GRPOAlgorithm
