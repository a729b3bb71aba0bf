"""A buffer of finished episodes that agents learn from again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.replay.priorities import WEIGHTS
from agents.replay.recorded import Recorded
from agents.replay.rows import copied, narrowed
from agents.rollouts.sampling_plan import Stream
from agents.settings.agent import check_seed
from agents.settings.replay import PRIORITIES
from rlhf_env.checks import check_choice, check_count, check_positive
from rlhf_env.rollout import Rollout, join


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Old episodes, the oldest first, and how old each is."""

    rollout: Rollout
    """B episodes, whole groups consecutive."""
    ages: Tensor
    """[B] int64, updates between making an episode and this update."""


class Replay(Recorded):
    """Old episodes, of which every update learns from some besides its fresh ones.

    Episodes are kept as they were paid, with the log-probabilities of the policy that sampled them,
    first in, first out, in whole groups. Draws depend on the seed, the update and what is stored,
    so that a resumed run, and each of several processes, draws the same. Given to an agent as
    ``replay=``, the buffer is part of its checkpoints.

    A draw is without replacement: as long as fewer episodes are stored than asked for, it is all of
    them. An agent that compares responses to a prompt draws whole groups, which keep their
    members; any other draws single episodes.

    Example:
        >>> replay = Replay(capacity=2048, ratio=8)  # doctest: +SKIP
        >>> agent = GRPO(envs, importance="sequence", replay=replay)  # doctest: +SKIP
    """

    def __init__(
        self,
        capacity: int,
        ratio: float = 1.0,
        priority: str = "uniform",
        *,
        max_age: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Make an empty buffer.

        Args:
            capacity: the most episodes it keeps; the oldest groups leave first.
            ratio: old episodes for each fresh one in an update; ``math.inf`` learns from old
                episodes alone, and samples none.
            priority: "uniform", "recent" or "advantage".
            max_age: updates after which an episode is dropped; None keeps it.
            seed: of the draws; the agent's when None.

        Raises:
            ValueError: if a number is out of range, or there is no such priority.
        """
        check_count("capacity", capacity)
        if ratio != math.inf:
            check_positive("ratio", ratio)
        check_choice("priority", priority, PRIORITIES)
        if max_age is not None:
            check_count("max_age", max_age)
        if seed is not None:
            check_seed(seed)
        self.capacity, self.ratio, self.priority = capacity, float(ratio), priority
        self.max_age, self.seed = max_age, seed
        self._episodes: Rollout | None = None
        self._born = torch.zeros(0, dtype=torch.int64)

    def __len__(self) -> int:
        """Return the number of episodes stored."""
        return len(self._born)

    def __bool__(self) -> bool:
        """Return True: an empty buffer is not the same as none."""
        return True

    @property
    def is_offline(self) -> bool:
        """Whether updates learn from old episodes alone."""
        return self.ratio == math.inf

    @property
    def settings(self) -> dict[str, int | float | str | None]:
        """The arguments that make an empty buffer like this one."""
        return {
            "capacity": self.capacity,
            "ratio": self.ratio,
            "priority": self.priority,
            "max_age": self.max_age,
            "seed": self.seed,
        }

    @property
    def episodes(self) -> Rollout | None:
        """All stored episodes, the oldest first, on the CPU; None where there are none."""
        return self._episodes

    @property
    def born(self) -> Tensor:
        """[B] int64, how many updates there had been when each of `episodes` was made."""
        return self._born

    def add(self, rollout: Rollout, update: int, pad_id: int) -> None:
        """Keep a copy of some episodes, and drop what is too old or too much.

        Args:
            rollout: paid episodes; those of a group are consecutive.
            update: how many updates there were before.
            pad_id: fills up the rows of narrower rollouts.

        Raises:
            ValueError: if they do not say how their KL was paid, or have other reward terms than
                the episodes stored.
        """
        _check_alike(self._episodes, rollout)
        own = copied(narrowed(rollout))
        stored = [own] if self._episodes is None else [self._episodes, own]
        born = torch.full((len(rollout),), update, dtype=torch.int64)
        self.put(join(stored, pad_id), torch.cat([self._born, born]))
        self._drop_older(update)

    def put(self, episodes: Rollout | None, born: Tensor) -> None:
        """Have these episodes in place of those stored, as far as they fit.

        Args:
            episodes: the oldest first, in consecutive groups; None for none.
            born: [B] int64, how many updates there had been when each was made.

        Raises:
            ValueError: if the capacity is less than one group.
        """
        surplus = len(born) - self.capacity
        if episodes is not None and surplus > 0:
            fits = ~torch.isin(episodes.group, episodes.group[:surplus].unique())
            if not fits.any():
                last = int((episodes.group == episodes.group[-1]).sum())
                raise ValueError(
                    f"capacity must hold a group of {last} episodes, got {self.capacity}; raise it"
                )
            episodes, born = episodes.take(fits.nonzero().flatten()), born[fits]
        self._episodes, self._born = episodes, born

    def draw(
        self, count: int, update: int, *, seed: int = 0, groups: bool = False, again: int = 0
    ) -> Drawn | None:
        """Return some of the episodes, or None where there are none.

        Args:
            count: how many, at most.
            update: how many updates there were before.
            seed: of the agent, where the buffer has none of its own.
            groups: whether groups are drawn as a whole, so that ``count`` may not be reached.
            again: number of the draw, where an update makes several.
        """
        self._drop_older(update)
        if self._episodes is None:
            return None
        ages = update - self._born
        unit = self._episodes.group if groups else torch.arange(len(ages))
        members = unit.unique(return_inverse=True)[1]
        sizes = members.bincount()
        weights = WEIGHTS[self.priority](self._episodes, ages)
        means = torch.zeros(len(sizes)).double().index_add_(0, members, weights) / sizes
        own = seed if self.seed is None else self.seed
        generator = np.random.default_rng([own, Stream.REPLAY, update, again])
        order = _weighted_order(means.numpy(), generator)
        taken = order[sizes[order].cumsum(0) <= count]
        rows = torch.isin(members, taken).nonzero().flatten()
        if not len(rows):
            return None
        return Drawn(rollout=narrowed(self._episodes.take(rows)), ages=ages[rows])

    def _drop_older(self, update: int) -> None:
        if self.max_age is not None:
            self._keep(update - self._born <= self.max_age)

    def _keep(self, is_kept: Tensor) -> None:
        """Forget all episodes but some, [B] bool."""
        if self._episodes is None or is_kept.all():
            return
        rows = is_kept.nonzero().flatten()
        self._episodes = self._episodes.take(rows) if len(rows) else None
        self._born = self._born[rows]


def _weighted_order(weights: np.ndarray, generator: np.random.Generator) -> Tensor:
    """Return all units in the order of a draw without replacement, by positive weights [U].

    The smallest of independent exponential times with these rates comes first (Efraimidis and
    Spirakis 2006), so the order of equal weights is a uniform permutation.
    """
    times = generator.exponential(size=len(weights)) / weights
    return torch.from_numpy(times.argsort(kind="stable"))


def _check_alike(stored: Rollout | None, added: Rollout) -> None:
    """Raise ValueError if episodes cannot be put beside those stored."""
    if added.kl_coef is None or added.includes_policy_logprob is None:
        raise ValueError(
            "episodes must say how their KL was paid, got kl_coef or includes_policy_logprob of "
            "None; take them from agents.collect, or set both with rollout.replace()"
        )
    if stored is not None and set(stored.reward_terms) != set(added.reward_terms):
        raise ValueError(
            f"episodes must have the reward terms of those stored, {sorted(stored.reward_terms)}, "
            f"got {sorted(added.reward_terms)}; keep a buffer for each kind of environment"
        )
