"""What the path agents refuse, how they go on after a checkpoint, and where else they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agents import Replay
from agents.settings import BUILT_IN_AGENTS
from agents.settings.off_policy import OffPolicyConfig
from tests.agents.episodes import make_envs
from tests.dialogues import talk_task
from tests.toys import tiny_llama_task
from wrappers.vector import EveryK, MacroAction, PotentialShaping, SequenceBandit

NAMES = ("pcl", "trajectory_balance", "tbrm", "reval", "shiq")
# One of all sub-paths, and one of logits.
QUICK = ("pcl", "shiq")


def agent_of(name: str, envs: Any, **settings: Any) -> Any:
    given = {"episodes_per_update": 8, "learning_rate": 0.01, **settings}
    if name == "trajectory_balance":
        given.setdefault("group_size", 2)
    return BUILT_IN_AGENTS[name].load()(envs, **given)


@pytest.mark.parametrize("name", NAMES)
def test_a_discount_for_each_term_is_refused(toy15: Any, name: str) -> None:
    with pytest.raises(ValueError, match="gamma must be one number, got one for each reward term"):
        agent_of(name, make_envs(toy15), gamma={"score": 1.0, "kl": 0.9})


@pytest.mark.parametrize("name", NAMES)
def test_without_a_kl_there_is_nothing_to_solve(toy15: Any, name: str) -> None:
    with pytest.raises(ValueError, match="kl_coef must be above 0"):
        agent_of(name, make_envs(toy15), kl_coef=0.0)
    with pytest.raises(ValueError, match="got an environment with kl_coef = 0"):
        agent_of(name, make_envs(toy15, kl_coef=0.0))


@pytest.mark.parametrize(
    "settings",
    [{"kl_placement": "loss"}, {"kl_estimator": "k3"}, {"kl_importance_ratio": True}],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.parametrize("name", NAMES)
def test_another_kl_is_refused(toy15: Any, name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is of a KL that is paid"):
        agent_of(name, make_envs(toy15), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 1}, "group_size must be an integer >= 2, got 1"),
        ({"log_z": "mean"}, "log_z must be one of"),
        (
            {"critic_learning_rate": 0.1},
            'is of a log Z that is learned, got 0.1 with log_z="group"',
        ),
    ],
)
def test_what_log_z_cannot_be(toy15: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent_of("trajectory_balance", make_envs(toy15), **settings)


def test_a_path_has_at_least_one_decision(toy15: Any) -> None:
    with pytest.raises(ValueError, match="path_length"):
        agent_of("pcl", make_envs(toy15), path_length=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_agent_goes_on_bit_for_bit(toy15: Any, name: str, tmp_path: Path) -> None:
    """With a buffer, weights of earlier updates that sample, and a beta that is steered."""
    settings = {"staleness": 1, "kl_target": 0.2, "kl_horizon": 64, "epochs": 2, "minibatches": 2}

    def made() -> Any:
        replay = Replay(capacity=32, ratio=1.0)
        return agent_of(name, make_envs(toy15), replay=replay, **settings)

    whole = made()
    for _ in range(3):
        whole.update(whole.collect())
    whole.save(tmp_path / "checkpoint")
    again = made()
    again.restore(tmp_path / "checkpoint")
    for agent in (whole, again):
        for _ in range(2):
            agent.update(agent.collect())
    assert whole.kl_coef == again.kl_coef != 0.5
    for left, right in zip(whole.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_do_not_depend_on_how_rows_are_split(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny decoder, prompts and responses of several lengths; one row at a time."""
    found = []
    for rows in (None, 1):
        agent = agent_of(name, make_envs(tiny_llama_task(), 8), gamma=0.9, minibatches=2)
        if rows is not None:
            one_by_one = lambda rollout, rows: iter(rows.split(1))  # noqa: E731
            monkeypatch.setattr(agent.learner, "_micro_batches", one_by_one)
        agent.update(agent.collect())
        found.append(torch.cat([p.detach().flatten() for p in agent.policy.parameters()]))
    torch.testing.assert_close(*found, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_adapters_learn(name: str) -> None:
    """The reference is the policy with its adapter off, and its normalizers are its own."""
    agent = agent_of(name, make_envs(tiny_llama_task(), 8), lora_rank=2)
    before = [p.detach().clone() for p in agent.base.mdp.reference.model.parameters()]
    for _ in range(2):
        metrics = agent.update(agent.collect())
        assert metrics["squared_residual"] > 0
    after = agent.base.mdp.reference.model.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda envs: envs,
        lambda envs: MacroAction(envs, n=2),
        lambda envs: MacroAction(envs, boundary="turn"),
        SequenceBandit,
        lambda envs: EveryK(envs, k=2),
        lambda envs: PotentialShaping(envs, gamma=1.0),
    ],
    ids=["token", "macro", "turn", "bandit", "every_k", "potential"],
)
@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
def test_conversations_at_every_granularity_and_density(name: str, wrap: Any) -> None:
    agent = agent_of(name, wrap(make_envs(talk_task(), 8)))
    for _ in range(2):
        metrics = agent.update(agent.collect())
        assert all(torch.tensor(list(metrics.values())).isfinite())


def test_all_of_them_are_here() -> None:
    """Those of values have tests of their own."""
    known = {
        name
        for name, agent in BUILT_IN_AGENTS.items()
        if issubclass(agent.config_class, OffPolicyConfig)
    }
    assert known == {*NAMES, "oreo", "a_star_po", "soft_q", "ilql"}
