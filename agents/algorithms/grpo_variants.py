"""What the variants of GRPO change: the mean over decisions, and which groups are learned from.

Dr. GRPO (arXiv:2503.20783) divides by a constant, DAPO (arXiv:2503.14476) leaves out unfinished
responses and draws again for groups that teach nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from agents.algorithms.group_advantages import are_equal
from agents.algorithms.surrogate import mean_over_decisions
from agents.settings.group import GRPOConfig
from rlhf_env.rollout import Rollout, join


def aggregation_weights(
    aggregation: str, mask: Tensor, is_used: Tensor, max_new_tokens: int
) -> Tensor:
    """Return the [B] factors of each episode's sum over decisions in the mean over episodes.

    Args:
        aggregation: "decision_mean", Σ over decisions / number of decisions; "episode_mean", mean
            over episodes of their own means; "constant", mean over episodes of sum / T.
        mask: [B, D] bool, where there is a decision.
        is_used: [B] bool, the episodes that count; 0 for the others.
        max_new_tokens: T.
    """
    if not is_used.any():
        return torch.zeros(len(mask), device=mask.device)
    if aggregation == "decision_mean":
        return is_used * mean_over_decisions(mask & is_used[:, None])
    divisor = torch.full((len(mask),), float(max_new_tokens), device=mask.device)
    if aggregation == "episode_mean":
        divisor = mask.sum(dim=1).to(divisor)
    return is_used / divisor * (len(mask) / is_used.sum())


def finished_responses(rollout: Rollout, eos_id: int) -> Tensor:
    """Return [B] bool, True where a response ends with EOS (DAPO's overlong filtering)."""
    finished = rollout.tokens[rollout.last_action] == eos_id
    if not finished.any():
        warnings.warn(
            "no response of this rollout is finished, so skip_unfinished leaves nothing to "
            "learn from; raise max_new_tokens",
            stacklevel=2,
        )
    return finished


def sample_dynamically(
    rollout: Rollout, resample: Callable[[int], Rollout], config: GRPOConfig, pad_id: int
) -> Rollout:
    """Replace groups of equal scores by those of further draws (DAPO's dynamic sampling).

    After ``config.max_draws`` draws missing groups are filled up with equal ones, and a warning
    says so.

    Args:
        rollout: the first draw, B episodes.
        resample: returns draw number 1, 2, ... of as many episodes.
        config: the settings.
        pad_id: fills rows up where draws differ in width.
    """
    draws = 1
    while draws < config.max_draws and are_equal(rollout.score, rollout.group).any():
        both = join([rollout, resample(draws)], pad_id)
        # Stable, so that groups that differ come first and keep their order.
        order = are_equal(both.score, both.group).sort(stable=True).indices
        rollout = both.take(order[: len(rollout)])
        draws += 1
    equal = int(are_equal(rollout.score, rollout.group).sum()) // config.group_size
    if equal:
        warnings.warn(
            f"after {draws} draws {equal} of {len(rollout) // config.group_size} groups "
            "still have equal scores and teach nothing; raise max_draws, or use a reward "
            "that tells the responses apart",
            stacklevel=3,
        )
    return rollout
