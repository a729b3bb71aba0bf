"""Fixed comparisons as episodes: in what order they are dealt, and what the reference says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.preference.data import groups_rollout, read_groups
from agents.preference.groups import ResponseGroup
from agents.preference.reference import reference_logprobs
from agents.processes.exchange import on_first
from agents.rollouts.collect import base_environment, rollout_transforms
from agents.rollouts.sampling_plan import Stream
from rlhf_env.rollout import Rollout


class FixedPreferences:
    """Compared responses of one task; the reference is asked once, when they are first used."""

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        source: Any,
        *,
        temperature: float,
        alone: bool = False,
        name: str = "preferences",
    ) -> None:
        """Read the comparisons.

        Args:
            envs: gives the task; its wrappers say what a decision is.
            source: see `read_groups`, as for ``alone`` and ``name``.
            temperature: divides the reference's logits.
            alone: whether each response is learned from by itself.
            name: how the caller named the source, for error messages.

        Raises:
            ValueError: if they cannot be used.
        """
        self.groups: list[ResponseGroup]
        self.envs = envs
        self.mdp = base_environment(envs).mdp
        self.temperature = temperature
        self.groups = read_groups(source, self.mdp.task, alone=alone, name=name)
        self.largest = max(map(len, self.groups))
        self.path: Path | None = None
        """A file that keeps what the reference says; see `reference_logprobs`."""
        self._reference: list[Tensor] | None = None
        self._starts = [0, *accumulate(map(len, self.groups))]

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.groups)

    @property
    def reference(self) -> list[Tensor]:
        """Log pi_ref of each response's tokens, [T] each, on the CPU."""
        if self._reference is None:
            asked = self.mdp, self.groups, self.temperature, self.path
            self._reference = on_first(lambda: reference_logprobs(*asked))
        return self._reference

    def dealt(self, seed: int, first: int, count: int) -> list[int]:
        """Return the numbers of some groups of an endless deal, in which each pass is shuffled.

        Args:
            seed: of the order.
            first: place in the deal, from 0.
            count: how many.
        """
        total, end = len(self.groups), first + count
        orders = {
            at: np.random.default_rng([seed, Stream.PREFERENCES, at]).permutation(total)
            for at in range(first // total, (end - 1) // total + 1)
        }
        return [int(orders[at // total][at % total]) for at in range(first, end)]

    def rollout(
        self,
        kl_coef: float,
        numbers: Sequence[int] | None = None,
        *,
        counts_decisions: bool = False,
    ) -> Rollout:
        """Return groups as episodes for which nothing is paid, the reference as the policy.

        Args:
            kl_coef: recorded with each episode.
            numbers: of the groups; all of them when None.
            counts_decisions: number the decisions as the wrappers do, rather than the tokens.
        """
        numbers = range(len(self)) if numbers is None else numbers
        rollout = groups_rollout(self.mdp, [self.groups[i] for i in numbers])
        rows = [row for i in numbers for row in range(self._starts[i], self._starts[i + 1])]
        known = torch.cat([self.reference[row] for row in rows]).to(rollout.tokens.device)
        logprobs = torch.zeros_like(rollout.logprobs).masked_scatter(rollout.is_action, known)
        rollout = rollout.replace(
            logprobs=logprobs,
            ref_logprobs=logprobs,
            kl_coef=torch.full_like(rollout.score, kl_coef),
            includes_policy_logprob=torch.ones_like(rollout.terminated),
        )
        if not counts_decisions:
            return rollout
        shaped = rollout
        for transform in rollout_transforms(self.envs) or ():
            shaped = transform.rollout(shaped)
        return rollout.replace(decision=shaped.decision)
