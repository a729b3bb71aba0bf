"""The last iterate of self-play: a frozen copy of the policy that losses take for the reference."""

from __future__ import annotations

import copy

import torch

from agents.policy import Policy
from rlhf_env.engine.language_model import LanguageModel


class LastIterate:
    """The policy as it was at the end of the last iteration."""

    def __init__(self, policy: Policy, every: int) -> None:
        """Copy the policy as it is now.

        Args:
            policy: whose model is copied.
            every: updates of an iteration.
        """
        self.every = every
        model = copy.deepcopy(policy.model).requires_grad_(False)
        self.lm = LanguageModel(model, policy.lm.vocab_size)

    @torch.no_grad()
    def follow(self, policy: Policy) -> None:
        """Take over the policy's present weights."""
        pairs = zip(self.lm.model.parameters(), policy.model.parameters(), strict=True)
        for own, theirs in pairs:
            own.copy_(theirs)
