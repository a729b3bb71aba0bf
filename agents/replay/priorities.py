"""Which old episodes are drawn more often than others.

Each priority is a function of all stored episodes. It shifts what the update learns from, and the
shift is not corrected: only "uniform" leaves the expectation of an (importance-weighted) update
that of the episodes stored. "recent" and "advantage" trade that for episodes that are nearer to the
policy, or that teach more.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.settings.replay import PRIORITIES
from rlhf_env.rollout import Rollout

# So that every episode can be drawn: a share of the mean priority that all of them get.
_FLOOR = 0.01


def uniform(rollout: Rollout, ages: Tensor) -> Tensor:
    """Return 1 for every episode, [B]."""
    return torch.ones(len(rollout), dtype=torch.float64)


def recent(rollout: Rollout, ages: Tensor) -> Tensor:
    """Return 1 / age, [B]; episodes of this update, of age 0, count like those of the last.

    Args:
        rollout: B stored episodes.
        ages: [B] updates since each was made.
    """
    return 1.0 / ages.double().clamp(min=1.0)


def advantage(rollout: Rollout, ages: Tensor) -> Tensor:
    """Return abs(score - mean score of the group), [B]; of all episodes where groups are single.

    The mean over all episodes times 0.01 is added, so that none has probability 0.
    """
    scores = rollout.score.double()
    numbers = rollout.group.unique(return_inverse=True)[1]
    counts = numbers.bincount()
    if int(counts.max()) == 1:
        means = scores.mean().expand_as(scores)
    else:
        means = (torch.zeros(len(counts)).double().index_add_(0, numbers, scores) / counts)[numbers]
    distances = (scores - means).abs()
    return distances + _FLOOR * distances.mean() if distances.any() else torch.ones_like(distances)


WEIGHTS: dict[str, Callable[[Rollout, Tensor], Tensor]] = dict(
    zip(PRIORITIES, (uniform, recent, advantage), strict=True)
)
"""By name: from the stored episodes and their ages [B] to a positive weight of each, [B]."""
