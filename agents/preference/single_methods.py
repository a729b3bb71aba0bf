"""Agents that learn from single responses: good or bad ones, or scores."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agents.algorithm import Algorithm
from agents.policy import Policy
from agents.preference.agent import PreferenceAgent
from agents.preference.fixed import FixedPreferences
from agents.preference.single import SingleAlgorithm, mismatched_baseline, single_figures
from agents.settings.preference_methods import BCOConfig, DROConfig, KTOConfig
from rlhf_env.rollout import Rollout


class SingleAgent(PreferenceAgent):
    """A `PreferenceAgent` that learns from each response by itself.

    Fixed data may be thumbs, ratings, or comparisons, in which a response is as good as the share
    of the others that it beats. Its own responses are labeled the same way; one that is alone is
    compared with a score of 0.
    """

    def _own_algorithm(self) -> Algorithm:
        loss = self.config.loss
        return SingleAlgorithm(self.config, loss == "bco_single", baseline=self._baseline)

    def _baseline(self, rollout: Rollout) -> Tensor:
        """Return KTO's z under the present policy."""

        def logprobs(tokens: Tensor, is_action: Tensor) -> Tensor:
            return self.policy.evaluate_episodes(tokens, is_action).logprobs

        return mismatched_baseline(logprobs, self.reference, rollout, self.config.temperature)

    def _figures(self, fixed: FixedPreferences) -> dict[str, float]:
        with self._one_thread():
            self.policy.eval()
            rule = self.learner.algorithm
            assert isinstance(rule, SingleAlgorithm)
            return single_figures(rule, self._given(fixed), self.policy)

    def _fixed(self, source: Any, name: str) -> FixedPreferences:
        fixed = super()._fixed(source, name)
        unknown = [group for group in fixed.groups if bool(group.preference.isnan().any())]
        if unknown:
            raise ValueError(
                f"{name} must say whether each response is good, or compare it, for "
                f"{type(self).__name__}, got {len(unknown)} of {len(fixed)} that do not; learn "
                "from ratings by DRO"
            )
        return fixed


class KTO(SingleAgent):
    """Kahneman-Tversky optimization: gains and losses against a baseline (arXiv:2402.01306).

    The baseline pairs each prompt with the response to another prompt of the update, once for an
    update. It is linear in how often a response is good, so it learns no scale of rewards: what is
    bad more often than good goes to probability 0.
    """

    config_class = KTOConfig

    def _fixed(self, source: Any, name: str) -> FixedPreferences:
        fixed = super()._fixed(source, name)
        if name == "preferences" and len({tuple(g.prompt.tolist()) for g in fixed.groups}) == 1:
            warnings.warn(
                "preferences hold one prompt, so KTO has no response to another prompt: its "
                "baseline estimates -KL(reference || policy), which is below 0, and stays 0",
                stacklevel=4,
            )
        return fixed


class BCO(SingleAgent):
    """Binary classifier optimization, shifted by a running mean of rewards (arXiv:2404.04656)."""

    config_class = BCOConfig


class DRO(SingleAgent):
    """Direct reward optimization, DRO-V: the policy and V of the prompt share one square.

    It learns from scores: the task's, ratings, or thumbs and shares of wins as scores in [0, 1].
    The optimum is that of the RLHF objective for whatever responses are scored, as long as V is
    learned too (arXiv:2405.19107).
    """

    config_class = DROConfig

    def __init__(
        self, envs: VectorEnv[Any, Any, Any], *, labels: Any = None, **arguments: Any
    ) -> None:
        """Make an agent; see `PreferenceAgent`.

        Raises:
            ValueError: if ``labels`` are given, or a setting or the data cannot be used.
        """
        if labels is not None:
            raise ValueError(
                f"DRO learns from scores, got labels={labels!r:.40}; leave them out, or use KTO"
            )
        super().__init__(envs, **arguments)

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        assert isinstance(self.config, DROConfig)
        own = copy.deepcopy(model) if self.config.critic == "separate" else None
        return super()._make_policy(model, critic=own, **critic)

    def _labeled(self, rollout: Rollout, draw: int) -> Rollout:
        # Scores are the labels.
        return rollout.replace(preference=torch.full_like(rollout.score, torch.nan)[:, None])

    def _fixed(self, source: Any, name: str) -> FixedPreferences:
        fixed = PreferenceAgent._fixed(self, source, name)
        rated = [group for group in fixed.groups if group.scores is not None]
        if rated and len(rated) < len(fixed):
            raise ValueError(
                f"{name} must rate every response or none, got {len(rated)} of {len(fixed)} with "
                "ratings; leave out the others"
            )
        if not rated:
            fixed.groups = [
                replace(group, scores=(float(group.preference),)) for group in fixed.groups
            ]
        return fixed
