"""What several runs aim at: computed at once for runs of one shape, the others each alone."""

from __future__ import annotations

import copy
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from agents.agent import Agent
from agents.algorithm import take_rows
from agents.algorithms.grpo import GRPOAlgorithm
from agents.algorithms.ppo import PPOAlgorithm
from agents.algorithms.reinforce import ReinforceAlgorithm
from agents.algorithms.rloo import RLOOAlgorithm
from agents.entropy.covariance import covariances, mean_covariance
from agents.policy import PolicyOutput
from agents.rollouts.decisions import sum_per_decision
from agents.stacked.rollouts import episodes_of, outputs_of
from rlhf_env.rollout import Rollout

# Learning rules whose targets can have a first axis of runs; see `agents.math`.
_OF_RUNS = (GRPOAlgorithm, RLOOAlgorithm, PPOAlgorithm, ReinforceAlgorithm)
# Besides gamma, the settings that targets depend on and that may differ between runs of a stack.
_ALIKE = ("gae_lambda", "critic_gae_lambda", "length_adaptive_lambda")


@dataclass(frozen=True, kw_only=True)
class StackedTargets:
    """What R runs aim at."""

    targets: Any
    """R · n rows."""
    figures: dict[str, Tensor]
    """What is known of each run before any step, [R] float64."""


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What runs have in common whose targets are computed at once."""

    width: int
    """L of a run alone: sums depend on how wide rows are."""
    decisions: int
    """The largest number of a decision."""
    settings: tuple[Any, ...]


def stacked_targets(
    agents: Sequence[Agent], rollout: Rollout, old: PolicyOutput, terms: Sequence[Sequence[str]]
) -> StackedTargets | dict[int, ValueError]:
    """Return what `Agent.targets` does for each of R agents; or the errors, by the run's number.

    Args:
        agents: of one stack.
        rollout: R blocks of n episodes.
        old: outputs of the policies that acted.
        terms: names of the reward terms that each run is paid.
    """
    order: list[int] = []
    parts: list[StackedTargets] = []
    failures: dict[int, ValueError] = {}
    for kind, runs in _kinds(agents, rollout).items():
        try:
            parts.append(_together(agents, rollout, old, runs, kind))
            order += runs
        except ValueError:
            # Whichever run it came from: alone each gets what is its own.
            for run in runs:
                try:
                    parts.append(_alone(agents, rollout, old, run, terms[run]))
                    order.append(run)
                except ValueError as error:
                    failures[run] = error
    return failures or _in_order(parts, order)


def _kinds(agents: Sequence[Agent], rollout: Rollout) -> dict[_Kind, list[int]]:
    """Return the runs of each kind."""
    runs = len(agents)
    columns = torch.arange(1, rollout.tokens.shape[1] + 1, device=rollout.tokens.device)
    widths = (rollout.is_action * columns).view(runs, -1).amax(dim=1).tolist()
    decisions = rollout.decision.view(runs, -1).amax(dim=1).tolist()
    found: dict[_Kind, list[int]] = defaultdict(list)
    for run, agent in enumerate(agents):
        settings = tuple(getattr(agent.config, name, None) for name in _ALIKE)
        found[_Kind(width=widths[run], decisions=decisions[run], settings=settings)].append(run)
    return found


def _together(
    agents: Sequence[Agent], rollout: Rollout, old: PolicyOutput, runs: Sequence[int], kind: _Kind
) -> StackedTargets:
    """Return the targets of some runs of one kind.

    Raises:
        ValueError: if they cannot be computed at once, or one fails.
    """
    first = agents[runs[0]]
    if len(runs) == 1 or not _is_of_runs(first):
        raise ValueError("each run is computed alone")
    places = torch.tensor(runs, device=rollout.tokens.device)

    def own(field: Tensor) -> Tensor:
        """Return [r, n, L] or [r, n] of all runs' rows."""
        blocks = field.view(len(agents), -1, *field.shape[1:])[places]
        return blocks[..., : kind.width] if field.dim() == 2 else blocks

    # Terms differ between runs; only discounts of their own need them.
    episodes = _mapped(own, dataclasses.replace(rollout, reward_terms={}))
    outputs = _mapped(own, old)
    gammas: Any = [agents[run].config for run in runs]
    gamma = torch.tensor([config.gamma for config in gammas], dtype=torch.float64)
    config = copy.copy(first.config)
    # Each run's has been checked.
    shape = episodes.tokens.shape[:2]
    discounts = gamma[:, None, None].expand(*shape, kind.decisions + 1)
    object.__setattr__(config, "gamma", discounts.to(places.device))
    rule = dataclasses.replace(first.learner.algorithm, config=config)  # type: ignore[type-var]
    targets = rule.targets(episodes, outputs, first.base.mdp.reference)
    logprobs = sum_per_decision(outputs.logprobs, episodes)
    parts = covariances(logprobs, targets.advantages, targets.mask)
    return StackedTargets(
        targets=_mapped(lambda field: field.flatten(0, 1), targets),
        figures={"advantage_covariance": mean_covariance(parts, targets.mask)},
    )


def _is_of_runs(agent: Agent) -> bool:
    """Return whether an agent's learning rule can be that of several runs."""
    config: Any = agent.config
    if type(agent.learner.algorithm) not in _OF_RUNS or isinstance(config.gamma, Mapping):
        return False
    is_filtered = getattr(config, "skip_unfinished", False)
    return not is_filtered and getattr(config, "baseline", None) != "greedy"


def _alone(
    agents: Sequence[Agent], rollout: Rollout, old: PolicyOutput, run: int, terms: Sequence[str]
) -> StackedTargets:
    own = episodes_of(rollout, run, len(agents), terms)
    outputs = outputs_of(old, run, len(agents), own.tokens.shape[1])
    targets, figures = agents[run].targets(own, outputs)
    return StackedTargets(
        targets=targets,
        figures={name: torch.tensor([each]).double() for name, each in figures.items()},
    )


def _in_order(parts: Sequence[StackedTargets], order: Sequence[int]) -> StackedTargets:
    """Return the targets of all runs, of which ``order`` gives the numbers, by number."""
    joined = joined_targets([part.targets for part in parts])
    places = torch.tensor(order).argsort()
    rows = torch.arange(len(joined.mask)).view(len(order), -1)[places].flatten()
    return StackedTargets(
        targets=take_rows(joined, rows.to(joined.mask.device)),
        figures={
            name: torch.cat([part.figures[name].cpu() for part in parts])[places]
            for name in parts[0].figures
        },
    )


def joined_targets(parts: Sequence[Any]) -> Any:
    """Return the targets of several rollouts as one, filled up with 0 where they are narrower."""

    def joined(values: Sequence[Any]) -> Any:
        if values[0] is None:
            return None
        if isinstance(values[0], Mapping):
            return {name: joined([value[name] for value in values]) for name in values[0]}
        if values[0].dim() == 1:
            return torch.cat(list(values))
        width = max(value.shape[1] for value in values)
        return torch.cat([pad(value, (0, width - value.shape[1])) for value in values])

    names = [field.name for field in dataclasses.fields(parts[0])]
    columns = {name: joined([getattr(part, name) for part in parts]) for name in names}
    return dataclasses.replace(parts[0], **columns)


def _mapped(change: Callable[[Tensor], Tensor], record: Any) -> Any:
    """Return a dataclass of tensors, and of mappings of tensors, with each tensor changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        return value and {name: change(part) for name, part in value.items()}

    names = [field.name for field in dataclasses.fields(record)]
    return dataclasses.replace(record, **{name: changed(getattr(record, name)) for name in names})
