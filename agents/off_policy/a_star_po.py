"""A*-PO: log-ratios of whole responses regressed on r − V*(x), V* from the reference's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.off_policy.agent import OffPolicyAgent
from agents.off_policy.optimal_value import optimal_value
from agents.off_policy.paid_decisions import PaidDecisions
from agents.policy import PolicyOutput
from agents.rollouts.collect import collect
from agents.rollouts.sampling_plan import Stream
from agents.samplers.distorted import played_by
from agents.settings.off_policy.values import AStarPOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout

Prompt = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AStarPOTargets(PaidDecisions):
    """What the decisions are paid, and what the prompt is worth."""

    optimal_values: Tensor
    """[B] the estimate of V*(x)."""


class AStarPOAlgorithm:
    """[beta_2 log(pi/pi_ref)(y|x) − (r − V*(x))]² with V*(x) = beta_1 log mean exp(r/beta_1).

    The mean is over responses of the reference (arXiv:2505.20686). Log-ratios and
    rewards are those of whole responses, whatever a decision is.
    """

    reads_old = False

    def __init__(
        self, config: AStarPOConfig, reference_returns: Callable[[Rollout], Tensor]
    ) -> None:
        """Take the settings, and what the reference's responses to the prompts of B rows are paid.

        Args:
            config: the settings.
            reference_returns: ``f(rollout) -> [B, n]``.
        """
        self.config = config
        self.reference_returns = reference_returns

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> AStarPOTargets:
        """Return rewards and the values of the prompts; see `Algorithm.targets`."""
        paid = PaidDecisions.of(rollout, "AStarPO")
        own = self.config.value_kl_coef
        kl_coef = paid.kl_coef if own is None else torch.full_like(paid.kl_coef, own)
        values = optimal_value(self.reference_returns(rollout).to(kl_coef), kl_coef)
        return AStarPOTargets(**vars(paid), optimal_values=values)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: AStarPOTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        implicit = targets.kl_coef * targets.log_ratio(rollout, new).sum(dim=1)
        advantage = targets.rewards.sum(dim=1) - targets.optimal_values
        loss = (implicit - advantage).square()
        return loss, {"optimal_advantage": advantage, "optimal_value": targets.optimal_values}


class AStarPO(OffPolicyAgent):
    """A*-PO: regression on the optimal advantage; see `AStarPOAlgorithm`.

    The reference answers each prompt ``value_samples`` times when it first comes up. Its answers
    depend on the seed and the prompt alone, so that a resumed run draws the same again.
    """

    config_class = AStarPOConfig

    @property
    def _settings(self) -> AStarPOConfig:
        assert isinstance(self.config, AStarPOConfig)
        return self.config

    def _own_algorithm(self) -> AStarPOAlgorithm:
        self._reference_returns: dict[Prompt, Tensor] = {}
        return AStarPOAlgorithm(self._settings, self.reference_returns)

    def reference_returns(self, rollout: Rollout) -> Tensor:
        """Return what responses of the reference to each row's prompt are paid, [B, n].

        They are paid as the agent's own are, wrappers included, but for the KL.
        """
        prompts = [tuple(prompt.tolist()) for prompt in rollout.prompts()]
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._reference_returns:
                self._reference_returns[prompt] = self._drawn(prompt)
        found = torch.stack([self._reference_returns[prompt] for prompt in prompts])
        return found.to(rollout.rewards.device)

    def _drawn(self, prompt: Prompt) -> Tensor:
        rollout = collect(
            self.envs,
            played_by(self.policy, self.base.mdp.reference),
            self._settings.value_samples,
            prompts=[torch.tensor(prompt)],
            seed=(self.config.seed, Stream.REFERENCE_VALUES, *prompt),
            kl_coef=self.kl_coef,
        )
        return PaidDecisions.of(rollout, type(self).__name__).rewards.sum(dim=1)
