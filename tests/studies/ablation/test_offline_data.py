"""The number of given pairs as an axis: same pairs for all agents of a seed, and in the report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from agents.settings import BUILT_IN_AGENTS
from studies.ablation.execute import execute
from studies.ablation.offline_data import HELD_OUT, offline_data
from studies.experiment.agent_names import agent_fields
from studies.experiment.grid import Budget, RunSettings
from studies.reporting.axes import successes
from studies.reporting.lines import panel_grid
from studies.reporting.tables import as_text
from tests.studies.toy_grids import ablate, rows

BUDGET = Budget(updates=2, episodes_per_update=8, eval_episodes=8)
TAKERS = [name for name, known in BUILT_IN_AGENTS.items() if known.takes_preferences]
one_prompt = pytest.mark.filterwarnings("ignore:preferences hold one prompt")


def make_run(agent: str = "dpo", pairs: int | None = 20, seed: int = 0, **more: str) -> RunSettings:
    fields = {"density": "terminal", "granularity": "token", **more}
    return RunSettings(
        agent=agent,
        gamma=0.9 if "gamma" in agent_fields(agent) else None,
        gae_lambda=None,
        kl_coef=None,
        group_size=None,
        seed=seed,
        budget=BUDGET,
        preference_pairs=pairs,
        **fields,
    )


def said(run: RunSettings, name: str = "preferences") -> list[list[list[int]]]:
    return [[ids.tolist() for ids in group.responses] for group in offline_data(run)[name]]


def test_agents_of_one_seed_share_their_pairs() -> None:
    assert offline_data(make_run(pairs=None)) == {}
    first = said(make_run())
    assert len(first) == 20
    assert said(make_run("ipo", granularity="bandit")) == first
    assert said(make_run(pairs=40))[:20] == first
    assert said(make_run(seed=1)) != first
    held_out = said(make_run(), "held_out")
    assert len(held_out) == HELD_OUT
    assert held_out[:20] != first
    assert said(make_run(pairs=40), "held_out") == held_out


@one_prompt
@pytest.mark.parametrize("agent", TAKERS)
def test_every_agent_that_takes_pairs_learns_from_them(agent: str) -> None:
    found = execute(make_run(agent))
    # Nothing was scored, but what was learned is measured.
    assert "return" not in found.curve[-1]
    assert {"j_ratio", "held_out_loss"} <= set(found.row)
    # That of the reference is 0.035186.
    assert found.row["j_ratio"] != pytest.approx(0.035186, abs=1e-5)
    assert [point["episodes"] for point in found.curve] == [8, 16]


@pytest.mark.parametrize("granularity", ["token", "macro_2", "bandit"])
@pytest.mark.parametrize("density", ["every_2", "potential", "implicit"])
def test_when_a_reward_would_be_paid_does_not_matter(density: str, granularity: str) -> None:
    """Nothing is paid; what a decision is matters, as the discount is below 1."""
    plain = execute(make_run(granularity=granularity)).row
    other = execute(make_run(granularity=granularity, density=density)).row
    assert other["j_ratio"] == plain["j_ratio"]
    assert other["held_out_accuracy"] == plain["held_out_accuracy"]


def test_more_pairs_teach_something_else() -> None:
    few, more = (execute(make_run(pairs=pairs)).row for pairs in (20, 100))
    assert few["j_ratio"] != more["j_ratio"]
    assert 0.0 <= few["held_out_accuracy"] <= 1.0


def test_a_grid_of_sizes_is_shown(tmp_path: Path) -> None:
    more = ("--agent", "dpo", "ppo", "--preference-pairs", "20", "100", "--gamma", "1.0")
    assert ablate(tmp_path / "grid", *more, "--seeds", "1") == 0
    found = rows(tmp_path / "grid")
    assert [(row["agent"], row["preference_pairs"]) for row in found] == [
        ("dpo", "20.0"),
        ("dpo", "100.0"),
        ("ppo", ""),
    ]
    assert "--preference-pairs 20 " in found[0]["command"]
    assert "--preference-pairs" not in found[2]["command"]
    table = pd.read_csv(tmp_path / "grid" / "results.csv")
    text = as_text(table)
    assert "preference_pairs" in text
    assert [line.split()[:2] for line in text.splitlines() if line.split()[:1] == ["dpo"]] == [
        ["dpo", "20"],
        ["dpo", "100"],
    ]
    names = [line.name for line in panel_grid(successes(table)).lines]
    assert names == ["dpo pairs 20", "dpo pairs 100", "ppo"]
