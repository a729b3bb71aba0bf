"""Checks of the command line of `scripts/train.py`, before anything is read or loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.evaluation.names import figure_names
from agents.settings import BUILT_IN_AGENTS, KL_ESTIMATORS, KL_PLACEMENTS, PreferenceConfig
from agents.training.trackers import check_tracker
from rlhf_env.checks import did_you_mean
from studies.experiment.agent_names import (
    AGENT_AXES,
    OFFERED,
    agent_fields,
    custom_class,
    is_custom,
    settings_of,
)
from studies.experiment.checks import check_learning_rate, check_task, known_horizon
from studies.experiment.density_checks import check_every_k, check_horizon, check_turns
from studies.experiment.further_settings import assignments
from studies.experiment.names import DENSITIES, GRANULARITIES, check_name
from studies.experiment.numbers import number, whole_number
from studies.experiment.task.checks import check_problem
from studies.training.replay import check_replay
from studies.training.settings import AGENT_OPTIONS, Learning, Settings

MAX_SEED = 2**63 - 1
NO_DISCOUNT = 1.0


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot be run.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    check_learning(settings.learning)
    check_tracker(settings.track)
    _check_best(settings)
    check_problem(settings.problem)
    whole_number("--samples", settings.samples, 0)
    if settings.threads is not None:
        whole_number("--threads", settings.threads, 1)
    if settings.ray_workers is not None:
        whole_number("--ray-workers", settings.ray_workers, 1)
    if settings.task_name is not None:
        check_task(settings.task_name)
        learning = settings.learning
        check_turns((learning.density, learning.granularity), settings.run.budget)
    if (horizon := known_horizon(settings.run.budget)) is not None:
        check_lengths(settings.learning, horizon)


def _check_best(settings: Settings) -> None:
    """Refuse a figure that no task has; the task's own are known when it is evaluated."""
    metric, learning = settings.keep_best, settings.learning
    # An agent of one's own may have figures of its own.
    if metric is None or is_custom(learning.agent):
        return
    names = figure_names(learning.eval_episodes)
    if metric not in names:
        hint = did_you_mean(metric, names) or f"; there are {', '.join(names)}"
        raise ValueError(f"--keep-best must be a figure of evaluations, got {metric!r}{hint}")


def check_lengths(learning: Learning, horizon: int) -> None:
    """Refuse a density or a granularity of more tokens than a response has.

    Args:
        learning: names them.
        horizon: tokens of the longest response.
    """
    for name in (learning.density, learning.granularity):
        check_horizon(name, learning.every_k, horizon)


def check_learning(learning: Learning) -> None:
    """Refuse an agent that does not exist, and settings that it does not have or cannot use."""
    if not is_custom(learning.agent) and learning.agent not in BUILT_IN_AGENTS:
        raise ValueError(
            f"--agent must be one of {', '.join(BUILT_IN_AGENTS)} or module:Class, got "
            f"{learning.agent!r}{did_you_mean(learning.agent, list(BUILT_IN_AGENTS))}"
        )
    whole_number("--episodes", learning.episodes, 1)
    whole_number("--episodes-per-update", learning.episodes_per_update, 1)
    whole_number("--eval-episodes", learning.eval_episodes, 1)
    whole_number("--every-k", learning.every_k, 1)
    whole_number("--seed", learning.seed, 0, MAX_SEED)
    number("--gamma", learning.gamma, 0.0, 1.0)
    number("--learning-rate", learning.learning_rate, 0.0)
    number("--gae-lambda", learning.gae_lambda, 0.0, 1.0)
    check_name("--density", learning.density, DENSITIES)
    check_every_k([learning.density], learning.every_k)
    check_name("--granularity", learning.granularity, GRANULARITIES)
    if learning.kl_placement is not None:
        check_name("--kl-placement", learning.kl_placement, KL_PLACEMENTS)
    if learning.kl_estimator is not None:
        check_name("--kl-estimator", learning.kl_estimator, KL_ESTIMATORS)
    _check_preferences(learning)
    for name in sorted(AGENT_AXES - agent_fields(learning.agent)):
        value = getattr(learning, name)
        if value not in (None, NO_DISCOUNT if name == "gamma" else None):
            raise ValueError(
                f"--{name.replace('_', '-')} is not a setting of {learning.agent}, got {value}; "
                "leave it out or choose another agent"
            )
    _check_options(learning)
    if is_custom(learning.agent):
        check_learning_rate(learning.agent, learning.learning_rate)
    _check_minibatches(learning)
    if learning.group_size is not None:
        _check_group(learning.group_size, learning.episodes_per_update)
    config = _check_together(learning)
    check_replay(learning, config)


def _check_preferences(learning: Learning) -> None:
    """Refuse comparisons for an agent that does not learn from any."""
    known = _known(learning).config_class
    takes_them = isinstance(known, type) and issubclass(known, PreferenceConfig)
    for name in ("preferences", "held_out"):
        value = getattr(learning, name)
        if value is not None and not takes_them:
            raise ValueError(
                f"--{name.replace('_', '-')} is for agents that learn from comparisons, got "
                f"{str(value)!r} for {learning.agent}; choose dpo, ..., or leave it out"
            )
    if learning.held_out is not None and learning.preferences is None:
        raise ValueError(
            f"--held-out goes with --preferences, got {str(learning.held_out)!r} without; give both"
        )
    if learning.label_rule is not None and learning.preferences is not None:
        raise ValueError(
            f"--label-rule is for an agent's own responses, got {learning.label_rule!r} with "
            "--preferences, which are compared already; leave one of the two out"
        )


def _check_options(learning: Learning) -> None:
    """Refuse options that the agent does not have."""
    known = _known(learning)
    assignments(",".join(learning.set) or None, (*OFFERED, *AGENT_OPTIONS))
    for name in AGENT_OPTIONS:
        value = getattr(learning, name)
        if value is not None and name not in known.settings:
            raise ValueError(
                f"--{name.replace('_', '-')} is not a setting of {learning.agent}, got {value}; "
                "leave it out or choose another agent"
            )
    if learning.lora_alpha is not None and learning.lora_rank is None:
        raise ValueError(
            f"--lora-alpha goes with --lora-rank, got {learning.lora_alpha} without one; give both"
        )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known of an agent before it is made."""

    settings: frozenset[str]
    """Names of those that it takes."""
    config_class: Callable[..., Any] | None
    """Checks its settings; None for an agent of one's own that has no such class."""
    preset: Mapping[str, Any]
    """Settings that turn its class into this agent."""


def _known(learning: Learning) -> _Known:
    if not is_custom(learning.agent):
        known = BUILT_IN_AGENTS[learning.agent]
        return _Known(settings=known.settings, config_class=known.config_class, preset=known.preset)
    made = custom_class(learning.agent)
    return _Known(
        settings=settings_of(made, (*OFFERED, *AGENT_OPTIONS)),
        config_class=getattr(made, "config_class", None),
        preset={},
    )


def _check_together(learning: Learning) -> Any:
    """Let the agent's own settings check the options' values, without torch; return them."""
    known = _known(learning)
    if known.config_class is None:
        return None
    shared = {"episodes_per_update": learning.episodes_per_update}
    shared |= {} if learning.group_size is None else {"group_size": learning.group_size}
    shared |= {"gamma": learning.gamma}
    for name in ("importance", "staleness"):
        value = getattr(learning, name)
        shared |= {} if value is None else {name: value}
    given = {name: value for name, value in shared.items() if name in known.settings}
    return known.config_class(**{**known.preset, **given, **learning.agent_options})


def _check_minibatches(learning: Learning) -> None:
    agent, episodes, known = learning.agent, learning.episodes_per_update, _known(learning)
    usual = 1 if known.config_class is None else known.config_class(**known.preset)
    count = learning.minibatches or getattr(usual, "minibatches", 1)
    if episodes % count:
        below, above = episodes // count * count, -(-episodes // count) * count
        choices = f"{below} or {above}" if below else str(above)
        raise ValueError(
            f"--episodes-per-update must be a multiple of {count} for {agent}, which takes {count} "
            f"steps per pass, got {episodes}; choose {choices}"
        )


def _check_group(size: int, episodes: int) -> None:
    whole_number("--group-size", size, 2)
    if episodes % size:
        sizes = [n for n in range(2, episodes + 1) if episodes % n == 0]
        raise ValueError(
            f"--group-size must divide --episodes-per-update = {episodes}, got {size}; choose one "
            f"of {', '.join(map(str, sizes)) or 'none: raise --episodes-per-update'}"
        )
