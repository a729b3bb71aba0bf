"""Settings of agents that have no option of their own, typed as ``name=value,name=value``."""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from agents.settings import BUILT_IN_AGENTS
from rlhf_env.checks import did_you_mean
from studies.experiment.agent_names import OFFERED, custom_class, is_custom, settings_of

DEFAULT = "default"
"""Stands for no further settings, as one of the values that a grid compares."""
PARTS = ":"
"""Between the numbers of a setting that has several."""

_TRUTH = {"true": True, "false": False}


def further_settings(agent: str, text: str | None) -> dict[str, Any]:
    """Return the settings that a text names, each as the type that the agent's settings have.

    Args:
        agent: a built-in name, or ``module:Class``.
        text: such as "staleness=2,importance=per_token"; "default" and None name none.

    Raises:
        ValueError: if it is not of that form, the agent lacks a setting, or a value is of another
            type.
    """
    pairs = assignments(text)
    if missing := [name for name in pairs if not takes(agent, (name,))]:
        known = () if is_custom(agent) else BUILT_IN_AGENTS[agent].settings
        raise ValueError(
            f"set must name settings of {agent}, got {missing[0]!r}"
            f"{did_you_mean(missing[0], known) or '; docs/agents.md lists them'}"
        )
    hints = _types(agent)
    return {name: _value(name, typed, hints.get(name)) for name, typed in pairs.items()}


def assignments(text: str | None, taken: Collection[str] = OFFERED) -> dict[str, str]:
    """Return the values that were typed, by name.

    Args:
        text: as in `further_settings`.
        taken: names of settings that have options of their own.

    Raises:
        ValueError: if it is not of that form, or names one of those, or one twice.
    """
    if text is None or text == DEFAULT:
        return {}
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (name.isidentifier() and equals and value):
            raise ValueError(f"set must be of the form name=value,name=value, got {text!r}")
        if name in taken:
            raise ValueError(
                f"set must leave out {name}, which has an option of its own, got {text!r}; use "
                f"--{name.replace('_', '-')}"
            )
        if name in found:
            raise ValueError(f"set must name {name} once, got {text!r}")
        found[name] = value
    return found


def takes(agent: str, names: Collection[str]) -> bool:
    """Return whether an agent has all of some settings."""
    if is_custom(agent):
        return set(names) <= settings_of(custom_class(agent), names)
    return set(names) <= BUILT_IN_AGENTS[agent].settings


def check_further(agent: str, text: str | None, shared: Mapping[str, Any]) -> None:
    """Let an agent's own settings check the values.

    Args:
        agent: a built-in name, or ``module:Class``.
        text: as in `further_settings`.
        shared: settings from other options, which the values have to suit.

    Raises:
        ValueError: with the agent's own sentence.
    """
    given = further_settings(agent, text)
    if not given or is_custom(agent):
        return
    known = BUILT_IN_AGENTS[agent]
    own = {name: value for name, value in shared.items() if name in known.settings}
    try:
        known.config_class(**{**known.preset, **own, **given})
    except ValueError as error:
        raise ValueError(f"set must suit {agent}, got {text!r}: {error}") from error


def _types(agent: str) -> dict[str, Any]:
    if is_custom(agent):
        config_class = getattr(custom_class(agent), "config_class", None)
    else:
        config_class = BUILT_IN_AGENTS[agent].config_class
    return {} if config_class is None else typing.get_type_hints(config_class)


def _value(name: str, text: str, hint: Any) -> Any:
    if hint is None:
        return _literal(text)
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if is_union else (hint,)
    for kind in kinds:
        try:
            return _of_kind(text, kind)
        except (ValueError, KeyError):
            continue
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise ValueError(f"set must give {name} a value of type {wanted}, got {text!r}")


def _of_kind(text: str, kind: Any) -> Any:
    if kind is type(None):
        return {"none": None}[text.lower()]
    if kind is bool:
        return _TRUTH[text.lower()]
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        pairs = zip(text.split(PARTS), inner, strict=True)
        return tuple(_of_kind(part, one) for part, one in pairs)
    return kind(text) if kind in (int, float, str) else {}[text]


def _literal(text: str) -> Any:
    """Return a number, True, False or None where one was typed, else the text."""
    words = {**_TRUTH, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
