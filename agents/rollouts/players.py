"""Groups of responses to one prompt in which each place has a player of its own.

Self-play compares what the policy says with what an opponent does: an earlier policy, the
reference, or the geometric mixture of both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.policy import Policy
from agents.rollouts.collect import (
    base_environment,
    decode,
    prepare,
    rollout_transforms,
    with_wrappers,
)
from agents.rollouts.divided import made_in_shares, made_on_first, parted_transforms
from agents.rollouts.sampling_plan import Seed, draw_episodes
from agents.samplers.distorted import played_by
from rlhf_env.engine.derived import DerivedEngine
from rlhf_env.engine.engine import Engine
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout, join


def collect_by_players(
    envs: VectorEnv[Any, Any, Any],
    players: Sequence[Policy],
    episodes: int,
    *,
    seed: Seed,
    kl_coef: float | None = None,
) -> Rollout:
    """Return finished episodes in groups, the k-th response of each by the k-th player.

    Prompts and random numbers are those of `agents.collect` under the same seed, so that with one
    player in all places the episodes are the same.

    Args:
        envs: a vector environment of this project, with wrappers that can transform a rollout.
        players: K policies of one temperature; ``logprobs`` of an episode are its player's.
        episodes: how many, a multiple of K.
        seed: of prompts and tokens.
        kl_coef: beta that these episodes are paid with; the environment's own when None.

    Raises:
        ValueError: if the environment has to be stepped, or the counts do not fit.
    """
    base, transforms = base_environment(envs), rollout_transforms(envs)
    if transforms is None or base.mdp.options.policy is not None:
        raise ValueError(
            "an opponent needs an environment whose episodes can be decoded at once, got one that "
            "must be stepped; leave out the wrapper, or the option policy="
        )
    plan = draw_episodes(base, episodes, len(players), seed, None)
    inner, outer = parted_transforms(transforms)

    def share(rows: Tensor) -> Rollout:
        parts, taken = [], []
        for player in dict.fromkeys(players):
            prepare(base, player)
            own = [k for k, each in enumerate(players) if each is player]
            at = torch.isin(rows % len(players), torch.tensor(own)).nonzero().flatten()
            if len(at):
                parts.append(decode(base, player, plan.part(rows[at])))
                taken.append(at)
        mixed = join(parts, base.task.pad_id).take(torch.cat(taken).argsort())
        paid = base.evaluate(mixed.replace(group=plan.group[rows].to(mixed.group.device)))
        return with_wrappers(inner, paid)

    with ExitStack() as stack:
        stack.enter_context(base.overridden(kl_coef=kl_coef, temperature=players[0].temperature))
        for player in dict.fromkeys(players):
            stack.enter_context(player.lock)
        made = made_in_shares(plan, share, base)
        if not outer:
            return made
        return made_on_first(lambda: with_wrappers(outer, made), base.mdp.device)


def geometric_mixture(policy: Policy, reference: LanguageModel, weight: float) -> Policy:
    """Return the policy ∝ π(a|s)^(1−m) π_ref(a|s)^m   (Nash-MD, arXiv:2312.00886).

    It is for sampling only. As in the paper's algorithm for language models the mixture is of the
    next token's distributions; normalized over whole responses it would be another.

    Args:
        policy: π.
        reference: π_ref, of the same vocabulary.
        weight: m in [0, 1]; 0 is the policy, 1 the reference.
    """
    lm = copy.copy(policy.lm)
    lm.engine = MixtureEngine(policy.lm.engine, reference.engine, weight)
    return played_by(policy, lm)


class MixtureEngine(DerivedEngine):
    """Logits between those of two engines; see `geometric_mixture`."""

    def __init__(self, first: Engine, second: Engine, weight: float) -> None:
        """Take two engines of one vocabulary and the weight of the second, in [0, 1]."""
        super().__init__(first, second)
        self.weight = weight

    @torch.no_grad()
    def logits_view(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return (1 − m) z + m z_ref, [N, V]."""
        first, second = (engine.logits_view(tokens, lengths) for engine in self.engines)
        return torch.lerp(first, second, self.weight)
