"""The agents an ablation can name, and which settings each of them has.

Nothing is imported from `agents` here, so that a command line can be checked without torch.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BuiltIn:
    """What a command line must know of an agent.

    Attributes:
        class_name: in `agents`.
        fields: which of `AGENT_AXES` it has.
        minibatches: its default, which must divide the episodes of an update.
        preset: settings that make this agent of its class.
    """

    class_name: str
    fields: frozenset[str]
    minibatches: int = 1
    preset: Mapping[str, Any] = field(default_factory=dict)


# Settings that a grid can vary and not every agent has.
AGENT_AXES = frozenset({"gamma", "gae_lambda", "group_size", "kl_placement", "kl_estimator"})
CRITIC = AGENT_AXES - {"group_size"}
GROUPS = AGENT_AXES - {"gae_lambda"}
NO_CRITIC = GROUPS - {"group_size"}
KL_TERM = NO_CRITIC - {"gamma"}
# Kept by hand, because asking the agents would load torch; a test compares it with them.
BUILT_IN = {
    "ppo": BuiltIn(class_name="PPO", fields=CRITIC, minibatches=4),
    "grpo": BuiltIn(class_name="GRPO", fields=GROUPS),
    "kl_penalty_ppo": BuiltIn(class_name="KLPenaltyPPO", fields=CRITIC, minibatches=4),
    "trpo": BuiltIn(class_name="TRPO", fields=CRITIC, minibatches=4),
    "reinforce": BuiltIn(class_name="Reinforce", fields=NO_CRITIC),
    **{
        f"reinforce_{baseline}": BuiltIn(
            class_name="Reinforce", fields=NO_CRITIC, preset={"baseline": baseline}
        )
        for baseline in ("none", "value", "greedy")
    },
    "dr_grpo": BuiltIn(class_name="DrGRPO", fields=GROUPS),
    "dapo": BuiltIn(class_name="DAPO", fields=GROUPS),
    "gspo": BuiltIn(class_name="GSPO", fields=GROUPS),
    "rloo": BuiltIn(class_name="RLOO", fields=GROUPS),
    "best_of_n": BuiltIn(class_name="BestOfN", fields=KL_TERM),
}
REQUIRED = ("gamma", "seed")
_MISSING = object()


def is_custom(agent: str) -> bool:
    """Return True for a name of the form ``module:Class``."""
    return ":" in agent


def agent_fields(agent: str) -> frozenset[str]:
    """Return which of `AGENT_AXES` this agent has.

    Args:
        agent: a built-in name, or ``module:Class``, whose constructor's parameters answer.

    Raises:
        ValueError: if there is no such agent.
    """
    if is_custom(agent):
        return frozenset(parameters(custom_class(agent))) & AGENT_AXES
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
