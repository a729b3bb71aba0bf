"""The agents an ablation can name, and which settings each of them has. Torch is not imported."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from agents.settings import BUILT_IN_AGENTS
from rlhf_env.checks import did_you_mean
from studies.experiment.references import import_object

# Settings that a grid can vary and not every agent has.
AGENT_AXES = frozenset({"gamma", "gae_lambda", "group_size", "kl_placement", "kl_estimator"})
REQUIRED = ("gamma", "seed")


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
    if agent not in BUILT_IN_AGENTS:
        names = list(BUILT_IN_AGENTS)
        raise ValueError(
            f"agent must be one of {', '.join(names)} or module:Class, got {agent!r}"
            f"{did_you_mean(agent, names)}"
        )
    return BUILT_IN_AGENTS[agent].settings & AGENT_AXES


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
