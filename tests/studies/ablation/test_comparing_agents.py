"""Agents that compare their own responses, as runs of a grid."""

from __future__ import annotations

import pytest

from studies.ablation.execute import execute
from studies.experiment.agent_names import agent_fields
from tests.studies.experiment.test_build import make_run


@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        ("dpo", {"granularity": "bandit", "kl_coef": 0.3}),
        ("simpo", {"gamma": None}),
        ("lipo", {"group_size": 4}),
    ],
)
def test_a_run_of_a_grid(agent: str, settings: dict[str, object]) -> None:
    run = make_run(agent=agent, gae_lambda=None, **{"group_size": 2, **settings})
    row = execute(run).row
    assert -5.0 < row["j_ratio"] <= 1.0
    assert row["kl_exact"] > 0.0


def test_what_a_grid_varies_for_them() -> None:
    """A KL in the reward is none of their settings, and a discount not one of token means."""
    assert agent_fields("dpo") == {"gamma", "group_size"}
    assert agent_fields("simpo") == agent_fields("orpo") == {"group_size"}
