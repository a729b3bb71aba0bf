"""Rollouts whose tokens tell which episode they are of."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlhf_env.rollout import Rollout

PAD = 9


def made_of(
    names: Sequence[int],
    group_size: int = 1,
    length: int = 2,
    scores: Sequence[float] | None = None,
    kl_coef: float = 0.5,
) -> Rollout:
    """Return an episode for each name: a prompt of one token, then its name ``length`` times.

    Every action has log pi = -1 and log pi_ref = -2, and the environment paid the reference's part.
    """
    count = len(names)
    tokens = torch.full((count, length + 3), PAD)
    tokens[:, 0] = 1
    tokens[:, 1 : length + 1] = torch.tensor(names)[:, None]
    is_action = torch.zeros(tokens.shape, dtype=torch.bool)
    is_action[:, 1 : length + 1] = True
    acts = is_action.float()
    score = torch.zeros(tokens.shape)
    paid = torch.tensor(scores if scores is not None else [0.0] * count)
    score[:, length] = paid
    kl = -2.0 * kl_coef * acts
    return Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=-acts,
        ref_logprobs=-2 * acts,
        rewards=score + kl,
        reward_terms={"score": score, "kl": kl},
        score=paid,
        terminated=torch.ones(count, dtype=torch.bool),
        group=torch.arange(count) // group_size,
        prompt_index=torch.zeros(count, dtype=torch.int64),
        decision=(is_action.long().cumsum(1) - 1).masked_fill(~is_action, -1),
        kl_coef=torch.full((count,), kl_coef),
        includes_policy_logprob=torch.zeros(count, dtype=torch.bool),
    )


def names_of(rollout: Rollout | None) -> list[int]:
    """Return the names of the episodes."""
    return [] if rollout is None else rollout.tokens[:, 1].tolist()
