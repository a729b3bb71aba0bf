"""Self-play: the policy against an earlier one, the reference, or a mixture; win rates decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from agents.algorithm import Algorithm
from agents.policy import Policy
from agents.preference.agent import PreferenceAgent
from agents.preference.labels import compared_rows, preference_matrix
from agents.preference.single import SingleAlgorithm, good_shares
from agents.rollouts.players import collect_by_players, geometric_mixture, played_by
from agents.rollouts.sampling_plan import Stream
from agents.settings.preference_methods import (
    DNOConfig,
    NashMDConfig,
    SelfPlayConfig,
    SPPOConfig,
    XPOConfig,
)
from rlhf_env.rollout import Rollout


class SelfPlayAgent(PreferenceAgent):
    """A `PreferenceAgent` whose responses, or the second of each two, another player may write.

    With ``reference_every`` the loss's reference is the last iterate. The score and KL of a rollout
    are then those of whoever wrote it; `evaluate` is of the policy, against the task's reference.
    """

    config_class = SelfPlayConfig
    takes_sampler = False

    @property
    def players(self) -> Sequence[Policy]:
        """Who writes the responses of a group, in their order."""
        assert isinstance(self.config, SelfPlayConfig)
        if self.config.draws_from == "reference":
            return [played_by(self.policy, self.reference)] * self.config.group_size
        if self.config.opponent_mixture is None:
            return [self.policy] * self.config.group_size
        weight = self.config.opponent_mixture
        return [self.policy, geometric_mixture(self.policy, self.reference, weight)]

    def _sampled(self, draw: int) -> Rollout:
        players = self.players
        if all(player is self.policy for player in players):
            return super()._sampled(draw)
        seed = (self.config.seed, Stream.ROLLOUT, self.updates)
        return collect_by_players(
            self.envs,
            players,
            self.config.episodes_per_update,
            seed=seed if draw == 0 else (*seed, draw),
            kl_coef=self.kl_coef,
        )


class _OwnResponses(SelfPlayAgent):
    """Self-play that means nothing on fixed data."""

    def __init__(self, envs: VectorEnv[Any, Any, Any], **arguments: Any) -> None:
        if arguments.get("preferences") is not None:
            raise ValueError(
                f"{type(self).__name__} compares responses of its own, got preferences; leave them "
                "out, or choose an agent that learns from fixed data, such as DPO"
            )
        super().__init__(envs, **arguments)


class SPPO(SelfPlayAgent):
    """Self-play preference optimization: log-ratios to the last iterate are regressed on win rates.

    A response's win rate is its mean probability to beat the others of its group, all drawn from
    the last iterate (arXiv:2405.00675); of fixed data it is the share of the others that it beats.
    """

    config_class = SPPOConfig

    def _own_algorithm(self) -> Algorithm:
        return SingleAlgorithm(self.config)


class DNO(_OwnResponses):
    """Direct Nash optimization: DPO on labels that compare win rates (arXiv:2404.03715).

    P(a) = σ(w_a − w_b) with win rates w against the last iterate, so that an exact iteration is
    π_t exp(w/β): exponential weights, whose average tends to the Nash equilibrium.
    """

    config_class = DNOConfig

    def _labeled(self, rollout: Rollout, draw: int) -> Rollout:
        labeled = super()._labeled(rollout, draw)
        rates = good_shares(labeled).double().cpu()
        first, second = compared_rows(rollout.group)
        wins = (rates[first] - rates[second]).sigmoid()
        matrix = preference_matrix(rollout.group, first, second, wins)
        return labeled.replace(preference=matrix)


class NashMD(_OwnResponses):
    """Nash mirror descent: the gradient of winning against a mixture with the reference.

    With ``opponent_mixture=0`` and exact gradients it stands still at the regularized Nash
    equilibrium π_ref exp(P(y > π)/β); a mixture is an easier opponent (arXiv:2312.00886).
    """

    config_class = NashMDConfig

    def _own_algorithm(self) -> Algorithm:
        return SingleAlgorithm(self.config)


class XPO(_OwnResponses):
    """Exploratory preference optimization: DPO against the reference, with a bonus for leaving it.

    Each pair is a response of the policy and one of the reference (arXiv:2405.21046).
    """

    config_class = XPOConfig
