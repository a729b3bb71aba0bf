"""ILQL: values of the best tokens in the data, without asking for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from agents.off_policy.logit_values import LogitDecisions
from agents.off_policy.soft_values import conservative_penalty, expectile_loss, soft_q_target
from agents.off_policy.target_network import TargetNetworkAgent
from agents.policy import PolicyOutput
from agents.rollouts.decisions import first_of_decision
from agents.settings.off_policy.values import ILQLConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class ILQLTargets(LogitDecisions):
    """The decisions of a rollout, and what V is an expectile of."""

    target_q: Tensor
    """[B, D] Q of the tokens in the data by the target network."""


class ILQLAlgorithm:
    """[r + γ V(s') − Q(s,a)]², the expectile loss of V towards Q', and a CQL term.

    arXiv:2206.11871. Q' is the target network's, V the value head's; the policy is
    pi_ref exp(Q/beta) up to its normalizer, where the authors' inverse temperature is 1/beta and
    their pi_beta the reference. The CQL term takes pi_ref and beta for its prior and temperature,
    with which it is −log(pi/pi_ref) of the tokens in the data; the authors' prior is uniform.
    There is one Q instead of two.
    """

    reads_old = False

    def __init__(self, config: ILQLConfig, target: Callable[[], LanguageModel]) -> None:
        """Take the settings, and what returns the target network."""
        self.config = config
        self.target = target

    def targets(self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel) -> ILQLTargets:
        """Return what V should be an expectile of; see `Algorithm.targets`."""
        temperature = self.config.temperature
        paid = LogitDecisions.with_reference(rollout, "ILQL", reference, temperature)
        target_q = paid.values_by(rollout, self.target(), temperature).q
        return ILQLTargets(**vars(paid), target_q=target_q)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: ILQLTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        config, logits = self.config, targets.values_of(rollout, new)
        values = first_of_decision(new.values, rollout, targets.mask.shape[1])
        aims = soft_q_target(targets.rewards, values.detach(), targets.mask, config.gamma)
        beta = targets.kl_coef[:, None]
        parts = {
            "q_loss": targets.loss((aims - logits.q).square()),
            "value_loss": targets.loss(expectile_loss(targets.target_q - values, config.expectile)),
            "conservative_loss": targets.loss(conservative_penalty(logits.q, logits.soft, beta)),
        }
        loss = parts["q_loss"] + config.value_coef * parts["value_loss"]
        return loss + config.conservative_coef * parts["conservative_loss"], parts


class ILQL(TargetNetworkAgent):
    """Implicit language Q-learning, for episodes of others; see `ILQLAlgorithm`.

    Example:
        >>> replay = Replay(capacity=4096, ratio=math.inf)  # doctest: +SKIP
        >>> agent = ILQL(envs, replay=replay)  # doctest: +SKIP
    """

    config_class = ILQLConfig

    def _own_algorithm(self) -> ILQLAlgorithm:
        assert isinstance(self.config, ILQLConfig)
        return ILQLAlgorithm(self.config, self.target_network)
