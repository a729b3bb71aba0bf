"""The agents an ablation can name, and which settings each of them has.

Nothing is imported from `agents` here, so that a command line can be checked without torch.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BuiltIn:
    """What a command line must know of an agent.

    Attributes:
        class_name: in `agents`.
        fields: settings that not every agent has.
        minibatches: its default, which must divide the episodes of an update.
    """

    class_name: str
    fields: frozenset[str]
    minibatches: int


BUILT_IN = {
    "ppo": BuiltIn(class_name="PPO", fields=frozenset({"gae_lambda"}), minibatches=4),
    "grpo": BuiltIn(class_name="GRPO", fields=frozenset({"group_size"}), minibatches=1),
}
REQUIRED = ("gamma", "seed")
_MISSING = object()


def is_custom(agent: str) -> bool:
    """Return True for a name of the form ``module:Class``."""
    return ":" in agent


def agent_fields(agent: str) -> frozenset[str]:
    """Return the settings that this agent has and others have not.

    Args:
        agent: a built-in name, or ``module:Class``, whose constructor's parameters answer.

    Raises:
        ValueError: if there is no such agent.
    """
    if is_custom(agent):
        return frozenset(parameters(custom_class(agent))) & {"gae_lambda", "group_size"}
    if agent not in BUILT_IN:
        hint = did_you_mean(agent, list(BUILT_IN))
        raise ValueError(
            f"agent must be one of {', '.join(BUILT_IN)} or module:Class, got {agent!r}{hint}"
        )
    return BUILT_IN[agent].fields


def custom_class(agent: str) -> Callable[..., Any]:
    """Import the class that ``module:Class`` names; the working folder is searched too.

    Raises:
        ValueError: if it cannot be imported, or if it takes no ``gamma`` and ``seed``.
    """
    made = import_object(agent, "agent")
    missing = [name for name in REQUIRED if name not in parameters(made)]
    if missing:
        raise ValueError(
            f"agent {agent!r} must take the keyword arguments {', '.join(REQUIRED)} after the "
            f"environments, got a constructor without {', '.join(missing)}; add them"
        )
    return made


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a callable's parameters; none if it does not tell them."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []


def import_object(reference: str, what: str) -> Callable[..., Any]:
    """Return the callable that ``module:name`` stands for.

    Args:
        reference: for example ``my_agents:Mine``.
        what: how to call it in an error.

    Raises:
        ValueError: if the module or the name does not exist, or is not callable.
    """
    module_name, _, name = reference.partition(":")
    expected = f"{what} must be given as module:name of something importable, got {reference!r}"
    if not module_name or not name.isidentifier():
        raise ValueError(f"{expected}; write for example my_module:my_name")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
        # Not `vars`: packages may import what they offer when it is first asked for.
        found = getattr(module, name, _MISSING)
    except Exception as error:
        raise ValueError(f"{expected}: {type(error).__name__}: {str(error)[:120]}") from error
    if found is _MISSING:
        names = [key for key, value in vars(module).items() if callable(value)]
        hint = did_you_mean(name, [*names, *getattr(module, "__all__", ())])
        raise ValueError(f"{expected}: the module has no class or function {name!r}{hint}")
    if not callable(found):
        kind = type(found).__name__
        article = "an" if kind[0] in "aeiou" else "a"
        raise ValueError(
            f"{what} must be a class or function, got {reference!r}, {article} {kind}; "
            "name one of that module"
        )
    return found


def did_you_mean(got: str, choices: list[str]) -> str:
    """Return the end of an error sentence that names the nearest choice, or nothing."""
    spelt = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(got.lower(), spelt, n=1)
    return f"; did you mean {spelt[near[0]]!r}?" if near else ""
