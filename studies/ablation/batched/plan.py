"""Which runs of a grid go together, and why others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from agents.settings import BUILT_IN_AGENTS
from agents.stacked.stackable import why_not_stackable
from rlhf_env.tasks import family_and_horizon
from studies.ablation.batched.execute import Batch
from studies.experiment.agent_names import is_custom
from studies.experiment.build import make_agent, make_envs, run_task
from studies.experiment.checks import known_horizon
from studies.experiment.grid import NEWER, RunSettings

# More would make the arithmetic no cheaper, and an interrupted grid repeats what is unfinished.
LARGEST_BATCH = 128
# Tokens of one update: what is alive at once is some hundred bytes for each.
_LARGEST_ROLLOUT = 2**20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The batches of a grid."""

    batches: list[Batch]
    """In the order of the grid; a run that is trained alone is a batch of one."""
    reasons: dict[str, int]
    """What keeps runs from being batched, in words, and how many."""

    @property
    def line(self) -> str:
        """What is said of it on the terminal."""
        together = [len(batch.runs) for batch in self.batches if len(batch.runs) > 1]
        parts = [f"batched: {sum(together)} runs train as {len(together)} stacks"]
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
        why: `why_alone` of the first run of each kind that has several.
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


def why_alone(run: RunSettings) -> str | None:
    """Return what keeps runs of this kind from training as one, as words; None if nothing does.

    It is found out by making one agent, unless a language model would have to be loaded for it.
    """
    budget = run.budget
    if budget.model is not None or budget.task == "reviews":
        return "the policy is a language model"
    if is_custom(run.agent):
        return "agents of one's own have rollouts of their own"
    if run.preference_pairs is not None or BUILT_IN_AGENTS[run.agent].takes_preferences:
        return f"{run.agent} learns from comparisons"
    try:
        task = run_task(run)
        return why_not_stackable(make_agent(run, make_envs(run, task)))
    except Exception as error:
        # Alone it says so itself.
        return f"it cannot be made ({type(error).__name__})"


def check_all_batched(runs: Iterable[RunSettings]) -> None:
    """Refuse a grid of which some runs cannot be batched.

    Raises:
        ValueError: with the reason.
    """
    for first, *_ in kinds_of(runs):
        if (reason := why_alone(first)) is not None:
            raise ValueError(
                f"batched must be auto or off for this grid, got on, but {first.agent} on "
                f"{first.task_name} is trained alone: {reason}"
            )


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
