"""Checks of densities and granularities against the task: what it pays for, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_env.tasks import family_and_horizon
from studies.experiment.agent_names import is_custom
from studies.experiment.axes import Axes
from studies.experiment.grid import Budget
from studies.experiment.names import OF_TURNS, tokens_between_payments, tokens_per_action

# Built-in tasks that are not divided into turns or lines.
WITHOUT_TURNS = ("reviews", "toy15")


def check_implicit(axes: Axes, own: Budget) -> None:
    """Refuse a density that needs an exact optimum where there is none.

    Raises:
        ValueError: with the task.
    """
    if "implicit" not in axes.density:
        return
    may_be_table = own.model is None and (own.task == "toy15" or is_custom(own.task))
    if not may_be_table or 0.0 in axes.kl_coef:
        coefs = ", ".join(map(str, axes.kl_coef)) or "its own"
        raise ValueError(
            "density implicit needs a task whose exact optimum is a table, such as toy15, and "
            f"kl_coef > 0, got {own.task if own.model is None else own.model!r} with kl_coef "
            f"{coefs}; choose another density"
        )


def check_turns(names: Sequence[str], own: Budget) -> None:
    """Refuse densities and granularities of turns where it is known that there are none.

    Args:
        names: of both.
        own: names the task, or its model.

    Raises:
        ValueError: with the first of them, and the task.
    """
    named = [name for name in names if name in OF_TURNS]
    has_none = own.model is not None or own.task in WITHOUT_TURNS
    if named and (has_none or family_and_horizon(own.task) is not None):
        raise ValueError(
            f"{named[0]} needs a task with turns, got "
            f"{own.task if own.model is None else own.model!r}, whose responses have none; "
            "choose another one, or name a task of your own, module:function"
        )


def check_densities(densities: Sequence[str], budget: Budget) -> None:
    """Refuse two names of the same density, whose runs would be counted twice.

    Raises:
        ValueError: with both names.
    """
    known: dict[int, str] = {}
    for density in densities:
        every = tokens_between_payments(density, budget.every_k)
        if every is None:
            continue
        if every in known:
            raise ValueError(
                f"density must not name the same twice, got {known[every]} and {density}, which "
                f"both pay every {every} tokens; leave one out"
            )
        known[every] = density


def check_every_k(densities: Sequence[str], every_k: int) -> None:
    """Refuse a number of tokens that no density asks for.

    Args:
        densities: all that are run.
        every_k: the N of the density every_k; 1, which is the default, goes with any.

    Raises:
        ValueError: with what to write instead.
    """
    if every_k != 1 and "every_k" not in densities:
        raise ValueError(
            f"every_k goes with the density every_k, got {every_k} with {', '.join(densities)}; "
            f"leave it out, or choose the density every_k or every_{every_k}"
        )


def check_horizon(name: str, every_k: int, horizon: int) -> None:
    """Refuse a density or a granularity whose N tokens do not fit into a response.

    Args:
        name: of either.
        every_k: the N of the density every_k.
        horizon: tokens of the longest response.

    Raises:
        ValueError: with the horizon.
    """
    tokens, what, instead = tokens_per_action(name), "granularity", "bandit"
    if tokens is None:
        tokens, what, instead = tokens_between_payments(name, every_k), "density", "terminal"
    if tokens is not None and tokens > horizon:
        raise ValueError(
            f"{what} must be of at most the task's {horizon} tokens, got {name} with {tokens}; "
            f"for the whole response write {instead}"
        )
