"""How the decisions of episodes of different lengths are weighed against each other."""

from __future__ import annotations

from rlhf_env.checks import check_choice

AGGREGATIONS = ("decision_mean", "episode_mean", "sum", "constant")
"""Names of the means; `agents.algorithms.surrogate.aggregation_weights` has the formulas."""


def check_aggregation(aggregation: str, *, has_horizon: bool = False) -> None:
    """Raise ValueError unless a mean is known; "constant" needs an agent that knows the horizon."""
    check_choice("aggregation", aggregation, AGGREGATIONS if has_horizon else AGGREGATIONS[:-1])
