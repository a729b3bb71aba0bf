"""ShiQ: the Bellman residual of every suffix, with shifted logits as soft Q values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.off_policy.paid_decisions import PaidDecisions
from agents.off_policy.soft_values import suffix_residuals
from agents.off_policy.tbrm import LogitValueAgent
from agents.policy import PolicyOutput
from agents.rollouts.decisions import first_of_decision, starts_decision
from agents.settings.off_policy import ShiQConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import rollout_log_normalizers
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class ShiQTargets(PaidDecisions):
    """What the decisions are paid, and what the values of their states are counted from."""

    origin: Tensor
    """[B, D] the reference's log-normalizers, in nats."""


class ShiQAlgorithm:
    """[V(s_t) − Σ_{i≥t} γ^{i−t} (r_i/beta − log(pi/pi_ref)(a_i|s_i))]², V = log Σ_a exp(logits).

    V is counted from the reference's, in every state. The sum is over an episode's decisions: their
    mean would weigh episodes by what the environment says, where that makes them short or long.
    After arXiv:2505.11081: logits as Q values, the shift that makes them 0 at the beginning, and
    the multi-step residual of every token. It is derived from these three, and from the Bellman
    equation, not copied from an equation of the paper.
    """

    reads_old = False

    def __init__(self, config: ShiQConfig) -> None:
        """Take the settings."""
        self.config = config

    def targets(self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel) -> ShiQTargets:
        """Return what the decisions are paid, and the origins; see `Algorithm.targets`."""
        paid = PaidDecisions.of(rollout, "ShiQ")
        starts = starts_decision(rollout)
        origin = rollout_log_normalizers(reference, rollout.tokens, starts, self.config.temperature)
        return ShiQTargets(
            **vars(paid), origin=paid.per_decision(origin.to(rollout.score), rollout)
        )

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: ShiQTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        assert new.log_normalizer is not None
        normalizers = first_of_decision(new.log_normalizer, rollout, targets.mask.shape[1])
        kl_coef = targets.kl_coef[:, None]
        values = kl_coef * (normalizers - targets.origin)
        residuals = suffix_residuals(
            values,
            targets.rewards,
            targets.log_ratio(rollout, new),
            targets.mask,
            targets.kl_coef,
            self.config.gamma,
            holds_later=False,
        )
        squared = (residuals / kl_coef).square()
        return squared.sum(dim=1), {
            "squared_residual": targets.mean(squared),
            "prompt_value": values[:, 0],
        }


class ShiQ(LogitValueAgent):
    """Shifted Q-learning from episodes of any policy; see `ShiQAlgorithm`.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> ShiQ(envs, replay=Replay(2048, ratio=8)).learn(total_episodes=1024)  # doctest: +SKIP
    """

    config_class = ShiQConfig
    algorithm_class = ShiQAlgorithm
