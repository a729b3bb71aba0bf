"""TBRM and ReVal: the Bellman residual of a whole response, with the logits as soft Q values.

Their value of a state is the log-normalizer of its logits, in units of beta. Policy and value are
then one model, and only the normalizer of the first state is left in the sum along a response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.off_policy.agent import OffPolicyAgent
from agents.off_policy.paid_decisions import PaidDecisions, at_prompt
from agents.off_policy.residuals import trajectory_residuals
from agents.policy import Policy, PolicyOutput
from agents.settings.off_policy import OffPolicyConfig, ReValConfig, TBRMConfig
from agents.state_measures import StateMeasures
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import rollout_log_normalizers
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class LogitValueTargets(PaidDecisions):
    """What the decisions are paid, and what the value of the prompt is counted from."""

    origin: Tensor
    """[B] in nats."""


class TBRMAlgorithm:
    """[log(pi/pi_ref)(y|x) − r/beta + V(s_1)]², V = log Σ_a exp(logits).

    (arXiv:2505.15311, in the form of arXiv:2603.23355, section 4.1.)

    Logits that are no Q values yet have a V that is not 0: the policy of least loss is pi*, but
    from pi_ref the first steps move the normalizer, and the policy with it, whatever is paid.
    """

    reads_old = False

    def __init__(self, config: OffPolicyConfig) -> None:
        """Take the settings."""
        self.config = config

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> LogitValueTargets:
        """Return what the decisions are paid, and the origin; see `Algorithm.targets`."""
        paid = PaidDecisions.of(rollout, type(self).__name__.removesuffix("Algorithm"))
        return LogitValueTargets(**vars(paid), origin=self.origin(rollout, reference))

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: LogitValueTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        assert new.log_normalizer is not None
        value = at_prompt(new.log_normalizer, rollout) - targets.origin
        residuals = trajectory_residuals(
            targets.rewards,
            targets.log_ratio(rollout, new),
            targets.mask,
            targets.kl_coef,
            self.config.gamma,
        )
        loss = (residuals + value).square()
        return loss, {"squared_residual": loss, "prompt_value": targets.kl_coef * value}

    def origin(self, rollout: Rollout, reference: LanguageModel) -> Tensor:
        """Return what V(s_1) is counted from, [B] in nats: 0."""
        return torch.zeros_like(rollout.score)


class ReValAlgorithm(TBRMAlgorithm):
    """TBRM's with V(s_1) − V_ref(s_1) in place of V(s_1), which is 0 at the beginning.

    (arXiv:2603.23355, eq. 2.) Where nothing is paid the loss and its gradient are 0 at pi_ref.
    """

    def origin(self, rollout: Rollout, reference: LanguageModel) -> Tensor:
        """Return the reference's log-normalizer of the prompt's next token, [B]."""
        positions = torch.arange(rollout.tokens.shape[1], device=rollout.tokens.device)
        is_first = positions == rollout.prompt_lengths[:, None]
        found = rollout_log_normalizers(
            reference, rollout.tokens, is_first, self.config.temperature
        )
        return found.sum(dim=1).to(rollout.score)


class LogitValueAgent(OffPolicyAgent):
    """An agent whose soft values are the log-normalizers of its policy's logits."""

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        policy = super()._make_policy(model, **critic)
        policy.measures = StateMeasures(log_normalizer=True)
        return policy


class TBRM(LogitValueAgent):
    """Trajectory Bellman residual minimization; see `TBRMAlgorithm`.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> TBRM(envs).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config_class = TBRMConfig
    algorithm_class = TBRMAlgorithm


class ReVal(LogitValueAgent):
    """TBRM with a calibrated start, made for replay; see `ReValAlgorithm`.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> ReVal(envs, replay=Replay(2048, ratio=8)).learn(total_episodes=1024)  # doctest: +SKIP
    """

    config_class = ReValConfig
    algorithm_class = ReValAlgorithm
