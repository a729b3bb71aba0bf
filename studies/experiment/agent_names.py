"""The agents an ablation can name, and which settings each of them has.

Nothing is imported from `agents` here, so that a command line can be checked without torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from studies.experiment.references import did_you_mean, import_object


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
