"""Learning on "toy15", where the share of the optimum J* is known exactly.

The data are Bradley-Terry comparisons of different responses of the reference, 64 of them an update
and none twice.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch

from agents import DPO
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.preference.preference_runs import share_of_optimum, toy15_pairs
from tests.rlhf_env.toy15_tables import RESPONSES, action_logprobs

PAIRS = 64


def learned(agent: DPO, *updates: int) -> list[float]:
    """Return J/J* after some numbers of updates."""
    found = []
    for count in updates:
        agent.learn(2 * PAIRS * count, progress=False)
        found.append(share_of_optimum(agent))
    return found


def online(task: Task, labels: Any, seed: int) -> DPO:
    return DPO(
        make_envs(task, 64),
        labels=labels,
        episodes_per_update=2 * PAIRS,
        learning_rate=0.05,
        seed=seed,
    )


def test_the_reference_has_its_share(toy15: Task) -> None:
    assert share_of_optimum(DPO(make_envs(toy15))) == pytest.approx(0.0352, abs=5e-5)


def test_soft_labels_reach_the_optimum(toy15: Task) -> None:
    assert learned(online(toy15, "soft", seed=0), 100)[0] >= 0.98


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_fixed_comparisons(toy15: Task, seed: int) -> None:
    pairs = toy15_pairs(toy15, 1000 * PAIRS, seed)
    agent = DPO(
        make_envs(toy15, 64),
        preferences=pairs,
        episodes_per_update=2 * PAIRS,
        # Adam with so large an epsilon is gradient descent, here with a step of 8.
        learning_rate=8.0,
        adam_epsilon=1.0,
        seed=seed,
    )
    early, late = learned(agent, 300, 1000)
    assert early >= 0.93
    assert late >= 0.97


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("labels", "share"), [("sampled", 0.98), ("soft", 0.99)])
def test_own_responses(toy15: Task, labels: str, share: float, seed: int) -> None:
    assert learned(online(toy15, labels, seed), 300)[0] >= share


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hard_labels_fall_after_they_rose(toy15: Task) -> None:
    """They have no fixed point: the limit is all mass on the best response, J/J* = .8146."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message='labels="hard" has no fixed point')
        agent = online(toy15, "hard", seed=0)
    shares = learned(agent, 100, 300, 1000)
    assert shares[0] > shares[1] > shares[2]
    assert shares[1] < 0.9
    assert shares[2] == pytest.approx(0.8146, abs=0.03)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_chosen_reward_falls_at_the_optimum_too(toy15: Task) -> None:
    """At pi* the mean log-ratio of chosen responses is -1.3486, of rejected ones -3.0521."""
    pairs = toy15_pairs(toy15, 20_000, seed=0)
    agent = DPO(make_envs(toy15), preferences=pairs[:2], episodes_per_update=4, beta=1.0)
    optimum = _optimal_table(toy15)
    with torch.no_grad():
        agent.policy.model.lm_head.weight.copy_(optimum)
    assert share_of_optimum(agent) == pytest.approx(1.0, abs=1e-5)
    figures = agent.preference_figures(pairs)
    assert figures["chosen_reward"] == pytest.approx(-1.3486, abs=0.05)
    assert figures["rejected_reward"] == pytest.approx(-3.0521, abs=0.05)
    assert figures["accuracy"] == pytest.approx(0.758496, abs=0.01)


def _optimal_table(task: Task) -> torch.Tensor:
    """Return logits of pi* in every state, by backward induction over the 15 responses."""
    reference = action_logprobs(task.reference)
    weights: dict[tuple[int, ...], float] = {}
    table = torch.full((3, 7), -math.inf, dtype=torch.float64)
    for row, (tokens, (states, score)) in enumerate(RESPONSES.items()):
        mass = math.exp(float(reference[row].sum()) + score / 0.5)
        for at, token in enumerate(tokens):
            if token >= 0:
                weights[states[at], token] = weights.get((states[at], token), 0.0) + mass
    for (state, token), mass in weights.items():
        table[token, state] = math.log(mass)
    return table.float()
