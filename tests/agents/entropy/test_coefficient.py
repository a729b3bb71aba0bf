"""The adaptive weight of the entropy bonus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import GRPO, PPO, RLOO, TRPO, Agent, KLPenaltyPPO, Reinforce
from agents.entropy.coefficient import EntropyControl, next_entropy_coef
from agents.settings.ppo import PPOConfig
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from wrappers.vector import MacroAction, SequenceBandit

AGENTS = [Reinforce, RLOO, GRPO, PPO, KLPenaltyPPO, TRPO]


@pytest.mark.parametrize(
    ("coefficient", "observed", "expected"),
    [(0.1, 0.4, 0.15), (0.1, 0.6, 0.05), (0.1, 0.5, 0.1), (0.02, 0.6, 0.0), (0.99, 0.4, 1.0)],
)
def test_a_step_towards_the_target(coefficient: float, observed: float, expected: float) -> None:
    found = next_entropy_coef(coefficient, observed, target=0.5, step=0.05, largest=1.0)
    assert found == pytest.approx(expected)


def test_nan_changes_nothing() -> None:
    with pytest.raises(ValueError, match="got nan"):
        next_entropy_coef(0.1, float("nan"), 0.5, 0.05, 1.0)


def test_the_bonus_is_paid_below_the_target_only() -> None:
    config = PPOConfig(entropy_target=0.5, entropy_coef=0.1, entropy_coef_step=0.05)
    control = EntropyControl(config)
    paid = [control.value]
    for entropy in (0.4, 0.6, 0.7, 0.5, 0.4):
        control.observe(entropy)
        paid.append(control.value)
    assert paid == pytest.approx([0.1, 0.15, 0.0, 0.0, 0.05, 0.1])


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("wrap", [None, lambda envs: MacroAction(envs, 2), SequenceBandit])
def test_every_agent_keeps_its_entropy(toy15: Task, kind: type[Agent], wrap: Any) -> None:
    """The reward prefers few responses; a target near log 3 keeps the bonus going."""
    last = {}
    for target in (None, 1.09):
        envs: Any = make_envs(toy15, 32, kl_coef=0.01)
        settings: dict[str, Any] = {} if kind is TRPO else {"learning_rate": 0.05}
        agent = kind(
            envs if wrap is None else wrap(envs),
            episodes_per_update=32,
            entropy_target=target,
            entropy_coef_step=0.5,
            entropy_coef_max=3.0,
            **settings,
        )
        rows = agent.learn(32 * 12, progress=False)
        last[target] = rows[-1]["entropy"]
    coefs = [row["entropy_coef"] for row in rows]
    assert coefs[:3] == [0.0, 0.5, 1.0]
    assert max(coefs) == 3.0
    assert last[1.09] > last[None] + 0.02


def test_it_survives_save_and_load(toy15: Task, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"entropy_target": 1.0, "entropy_coef_step": 0.25, "seed": 3}
    whole = GRPO(make_envs(toy15, 32), episodes_per_update=32, learning_rate=0.05, **settings)
    rows = whole.learn(32 * 6, progress=False)
    part = GRPO(make_envs(toy15, 32), episodes_per_update=32, learning_rate=0.05, **settings)
    part.learn(32 * 3, progress=False)
    part.save(tmp_path / "half")
    again = GRPO.load(tmp_path / "half", make_envs(toy15, 32))
    rest = again.learn(32 * 6, progress=False)
    assert len({row["entropy_coef"] for row in rows}) > 2
    for name in ("entropy_coef", "entropy", "gradient_norm"):
        assert [row[name] for row in rest] == [row[name] for row in rows[3:]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"entropy_target": -1.0}, "entropy_target"),
        ({"entropy_target": 0.5, "entropy_coef_step": 0.0}, "entropy_coef_step"),
        ({"entropy_target": 0.5, "entropy_coef": 2.0}, "at most entropy_coef_max"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig(**settings)
