"""Dynamic sampling (DAPO, arXiv:2503.14476): groups of equal scores are drawn again."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from agents.algorithms.group_advantages import are_equal
from agents.settings.group import GRPOConfig
from rlhf_env.rollout import Rollout, join


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
