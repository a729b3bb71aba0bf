"""Who samples an agent's episodes: its policy, a distorted or earlier one, or a sampler given."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from agents.policy import Policy, PolicyOutput
from agents.processes.exchange import on_first
from agents.samplers.distorted import distorted
from agents.samplers.external import SamplerWeights, check_sampler
from agents.samplers.past_weights import PastWeights
from agents.samplers.protocol import Sampler
from agents.settings.agent import AgentConfig
from rlhf_env.rollout import Rollout


class EpisodeSampling:
    """How an agent's settings and its sampler, if it has one, make episodes of its policy."""

    def __init__(self, policy: Policy, config: AgentConfig, sampler: Sampler | None) -> None:
        """Begin with the present weights.

        Args:
            policy: the one that learns.
            config: the agent's settings.
            sampler: what samples in place of the policy.
        """
        self.policy = policy
        self.config = config
        self.sampler = sampler
        self.past_weights = PastWeights(policy.model, config.behavior.staleness)
        self._served = None if sampler is None else SamplerWeights(sampler)

    def refresh(self, agent: Any, update: int) -> None:
        """Offer a sampler that was given the weights of an update; see `SamplerWeights.refresh`."""
        if self._served is not None:
            served = self._served
            # Of several processes one tells the sampler.
            on_first(lambda: served.refresh(agent, update))

    @contextmanager
    def acting(self, update: int) -> Iterator[Policy]:
        """Hold the policy that samples for the update after so many updates."""
        behavior, policy = self.config.behavior, self.policy
        if behavior.is_distorted:
            policy = distorted(policy, behavior, (self.config.seed, update))
        if not behavior.staleness:
            yield policy
            return
        with policy.lock, self.past_weights.in_place():
            yield policy

    def before_update(self) -> dict[str, Tensor]:
        """Return the weights that `after_update` is to remember; nothing where none are."""
        return self.past_weights.present() if self.past_weights else {}

    def after_update(self, before: dict[str, Tensor]) -> None:
        """Remember the weights that an update began with."""
        if self.past_weights:
            self.past_weights.add(before)

    def figures(self, update: int, rollout: Rollout, old: PolicyOutput) -> dict[str, float]:
        """Return how far the sampler was from the policy at the beginning of an update.

        Args:
            update: how many updates there were before.
            rollout: what was sampled for it.
            old: outputs of the policy at its beginning.

        Returns:
            ``sampler_age``, updates since the sampler's weights, where they may be old;
            ``sampler_kl``, an estimate of KL(mu||pi) in nats per token, where it is corrected.
        """
        found = {}
        if self._served is not None:
            found["sampler_age"] = float(self._served.age(update))
        if self.past_weights:
            found["sampler_age"] = float(min(update, len(self.past_weights)))
        if self.config.corrects_sampler:
            distance = (rollout.logprobs - old.logprobs)[rollout.is_action]
            found["sampler_kl"] = float(distance.mean())
        return found


def check_sampler_of(agent: Any, sampler: Sampler | None, config: AgentConfig) -> None:
    """Refuse a sampler that an agent cannot use, and warn where it is taken for the policy.

    Args:
        agent: its class says whether its policy alone samples.
        sampler: what was given; None is always right.
        config: the agent's settings.

    Raises:
        ValueError: if it is no sampler, or the agent or its settings have no use for one.
    """
    if sampler is None:
        return
    kind = type(agent)
    check_sampler(sampler, kind.__name__, config.behavior, is_asked=kind.takes_sampler)
    if getattr(config, "importance", None) == "none":
        warnings.warn(
            'with importance="none" the episodes of sampler= are taken for the policy\'s own; set '
            'importance="sequence" or "token" where its weights or its arithmetic may differ',
            stacklevel=4,
        )
