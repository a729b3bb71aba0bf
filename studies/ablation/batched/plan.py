"""Which runs of a grid go together, and why others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rlhf_env.tasks import family_and_horizon
from studies.experiment.checks import known_horizon
from studies.experiment.grid import NEWER, RunSettings

# More would make the arithmetic no cheaper, and an interrupted grid repeats what is unfinished.
LARGEST_BATCH = 128
# Tokens of one update: what is alive at once is some hundred bytes for each.
_LARGEST_ROLLOUT = 2**20


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Runs that are trained as one stack."""

    runs: tuple[RunSettings, ...]
    """At least one, of one agent, budget and group size."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The batches of a grid."""

    batches: list[Batch]
    """In the order of the grid; a run that is trained alone is a batch of one."""
    reasons: dict[str, int]
    """What keeps runs from being batched, in words, and how many."""

    @property
    def line(self) -> str:
        """What is said of it on the terminal; nothing where no two runs are of one kind."""
        together = [len(batch.runs) for batch in self.batches if len(batch.runs) > 1]
        if not together and not self.reasons:
            return ""
        stacks = "1 stack" if len(together) == 1 else f"{len(together)} stacks"
        parts = [f"batched: {sum(together)} runs train as {stacks}"]
        parts += [f"{count} one by one: {reason}" for reason, count in self.reasons.items()]
        return "; ".join(parts)


def kinds_of(runs: Iterable[RunSettings]) -> list[list[RunSettings]]:
    """Return the runs that could train together, by kind."""
    kinds: dict[tuple[Any, ...], list[RunSettings]] = {}
    for run in runs:
        kinds.setdefault(_kind(run), []).append(run)
    return list(kinds.values())


def plan_batches(
    runs: Sequence[RunSettings], jobs: int, why: Callable[[RunSettings], str | None]
) -> Plan:
    """Return which runs train together.

    Args:
        runs: what is to be run.
        jobs: processes among which they are divided.
        why: `studies.ablation.batched.reasons.why_alone` of the first run of each kind that has
            several.
    """
    reasons: Counter[str] = Counter()
    found: list[tuple[RunSettings, ...]] = []
    for alike in kinds_of(runs):
        reason = why(alike[0]) if len(alike) > 1 else None
        if reason is not None:
            reasons[reason] += len(alike)
        found += _divided(alike, 1 if reason is not None else _size(alike, jobs))
    place = {run: number for number, run in enumerate(runs)}
    found.sort(key=lambda batch: place[batch[0]])
    return Plan(batches=[Batch(runs=batch) for batch in found], reasons=dict(reasons))


def _kind(run: RunSettings) -> tuple[Any, ...]:
    """Return what runs that train together have in common."""
    shared = run.group_size, run.kl_placement, run.kl_estimator
    shared += tuple(getattr(run, name) for name in NEWER)
    return run.agent, run.budget, run.budget.family_options, *shared


def _size(runs: Sequence[RunSettings], jobs: int) -> int:
    """Return the runs of each batch: at least one batch for each process."""
    budget = runs[0].budget
    horizon = known_horizon(budget)
    if horizon is None:
        parts = family_and_horizon(budget.task)
        horizon = 16 if parts is None else parts[1]
    most = _LARGEST_ROLLOUT // (budget.episodes_per_update * (horizon + 1))
    share = -(-len(runs) // jobs)
    return max(1, min(LARGEST_BATCH, most, share))


def _divided(runs: Sequence[RunSettings], size: int) -> Iterator[tuple[RunSettings, ...]]:
    rest = iter(runs)
    while batch := tuple(islice(rest, size)):
        yield batch
