"""The agents that commands can name, and which settings each of them has. Torch is not imported."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection
from typing import Any

from agents.settings import BUILT_IN_AGENTS
from agents.settings.registry import compares_groups
from rlhf_env.checks import did_you_mean
from studies.experiment.references import import_object

# Settings that a grid can vary and not every agent has.
AGENT_AXES = frozenset(
    {
        "gamma",
        "gae_lambda",
        "group_size",
        "kl_placement",
        "kl_estimator",
        "importance",
        "staleness",
    }
)
REQUIRED = ("gamma", "seed")
# What a grid hands to a constructor that takes it.
OFFERED = (
    *REQUIRED,
    "gae_lambda",
    "group_size",
    "kl_coef",
    "kl_placement",
    "kl_estimator",
    "episodes_per_update",
    "learning_rate",
)
# Options of their own that ``--set`` reaches too.
SAMPLING = ("importance", "staleness")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_PLACE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


def is_custom(agent: str) -> bool:
    """Return True for a name of the form ``module:Class``."""
    return ":" in agent


def agent_fields(agent: str) -> frozenset[str]:
    """Return which of `AGENT_AXES` this agent has.

    Args:
        agent: a built-in name, or ``module:Class``, whose constructor answers.

    Raises:
        ValueError: if there is no such agent.
    """
    if is_custom(agent):
        return settings_of(custom_class(agent), (*OFFERED, *SAMPLING)) & AGENT_AXES
    if agent not in BUILT_IN_AGENTS:
        names = list(BUILT_IN_AGENTS)
        raise ValueError(
            f"agent must be one of {', '.join(names)} or module:Class, got {agent!r}"
            f"{did_you_mean(agent, names)}"
        )
    return BUILT_IN_AGENTS[agent].settings & AGENT_AXES


def check_group_size(agent: str, size: int) -> None:
    """Refuse a number of responses per prompt that a built-in agent cannot compare.

    Raises:
        ValueError: with both, and the agent's own sentence.
    """
    if is_custom(agent):
        return
    known = BUILT_IN_AGENTS[agent]
    try:
        known.config_class(**{**known.preset, "group_size": size})
    except ValueError as error:
        raise ValueError(f"group_size must suit {agent}, got {size}: {error}") from error


def takes_preferences(agent: str) -> bool:
    """Return whether this agent learns from comparisons that it is given.

    Args:
        agent: a built-in name, or ``module:Class``, whose ``config_class`` answers.
    """
    if is_custom(agent):
        config = getattr(custom_class(agent), "config_class", None)
        return getattr(config, "takes_preferences", False)
    return BUILT_IN_AGENTS[agent].takes_preferences


def takes_replay(agent: str) -> bool:
    """Return whether this agent may learn from old episodes, if need be with ``importance``.

    Args:
        agent: a built-in name, or ``module:Class``, whose constructor answers.
    """
    if is_custom(agent):
        return "replay" in settings_of(custom_class(agent), ("replay",))
    return "importance" in agent_fields(agent) or learns_off_policy(agent, None)


def learns_off_policy(agent: str, importance: str | None) -> bool:
    """Return whether an agent may learn from old episodes as it is; one's own says so itself.

    Args:
        agent: its name.
        importance: its correction; its own when None.
    """
    if is_custom(agent):
        return True
    known = BUILT_IN_AGENTS[agent]
    given = {} if importance is None else {"importance": importance}
    config = known.config_class(**{**known.preset, **given})
    return getattr(config, "learns_off_policy", False)


def custom_class(agent: str) -> Callable[..., Any]:
    """Import the class that ``module:Class`` names; the working folder is searched too.

    Raises:
        ValueError: if it cannot be imported, or cannot be made as a grid makes its agents.
    """
    made = import_object(agent, "agent")
    check_constructor(agent, made)
    return made


def check_constructor(agent: str, made: Callable[..., Any]) -> None:
    """Refuse a class that ``made(envs, **settings)`` cannot make, or that cannot act and learn.

    Args:
        agent: what the class was called by.
        made: a class, or a function that returns an agent.

    Raises:
        ValueError: with what is missing or too much.
    """
    taken = settings_of(made)
    missing = [name for name in REQUIRED if name not in taken]
    if missing:
        raise ValueError(
            f"agent {agent!r} must take the keyword arguments {', '.join(REQUIRED)} after the "
            f"environments, got a constructor without {', '.join(missing)}; add them"
        )
    methods = ("act", "update") if inspect.isclass(made) else ()
    lacking = [name for name in methods if not callable(getattr(made, name, None))]
    if lacking:
        raise ValueError(
            f"agent {agent!r} must have act(observation) and update(rollout), got a class without "
            f"{lacking[0]}; add it"
        )
    known = _parameters(made)
    if known and known[0].kind not in _BY_PLACE:
        raise ValueError(
            f"agent {agent!r} must take the environments as its first argument, got a constructor "
            f"that begins with {known[0]}; write (envs, *, gamma, seed)"
        )
    unknown = [one.name for one in known[1:] if _is_required(one) and one.name not in OFFERED]
    if unknown:
        raise ValueError(
            f"agent {agent!r} must need no arguments but the environments and "
            f"{', '.join(OFFERED)}, got a constructor that asks for {', '.join(unknown)}; give "
            "them a default, or name a subclass that does"
        )


def settings_of(made: Callable[..., Any], offered: Collection[str] = OFFERED) -> frozenset[str]:
    """Return which of the settings offered a constructor takes as keyword arguments.

    One that passes ``**kwargs`` on takes what the next class in the MRO takes, or all that is
    offered if no class in the MRO is more specific. The settings of this project's agents are
    the fields of their ``config_class``.
    """
    lines = [one for one in made.__mro__ if one is not object] if inspect.isclass(made) else [made]
    found: set[str] = set()
    for one in lines:
        if inspect.isclass(one) and "__init__" not in vars(one):
            continue
        known = _parameters(one)
        found |= {parameter.name for parameter in known if parameter.kind in _BY_NAME}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known):
            return frozenset(found & set(offered))
    config_class = getattr(made, "config_class", None)
    if isinstance(config_class, type) and dataclasses.is_dataclass(config_class):
        fields = {one.name for one in dataclasses.fields(config_class)}
        if not compares_groups(config_class):
            # As for the built-in agents: it is a setting of those that compare within groups.
            fields.discard("group_size")
        return frozenset((found | fields) & set(offered))
    return frozenset(offered)


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a callable's parameters; none if its signature is not available."""
    return [parameter.name for parameter in _parameters(function)]


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:
        return []


def _is_required(parameter: inspect.Parameter) -> bool:
    variable = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variable
