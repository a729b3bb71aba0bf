"""What is GRPO's own: groups, their scale, and how long responses weigh."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import GRPO
from rlhf_env.tasks import load_task
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import EveryK, MacroAction, SequenceBandit


def toy_targets(scores: list[float], **settings: Any) -> Any:
    """Targets of the episodes (), (1, 1, 0), (1, 1, 1), (1, 1, 2) as one group, no KL."""
    task = load_task("toy15")
    agent = GRPO(make_envs(task, 16, kl_coef=0.0), policy=theta_policy(task), **settings)
    rows = torch.tensor([0, 3, 7, 8])
    from agents.algorithm import take_rows

    episodes = take_rows(every_toy15_episode(agent), rows)
    paid = torch.where(episodes.last_action, torch.tensor(scores)[:, None], 0.0)
    episodes = episodes.with_term("score", paid).with_term("kl", torch.zeros(4, 4))
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    return agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)


def test_every_decision_of_an_episode_has_its_advantage() -> None:
    """Traps E9 and E10."""
    scaled = toy_targets([1.0, 2.0, 3.0, 6.0])
    expected = [-0.925777, -0.462889, 0.0, 1.388666]
    for episode, advantage in enumerate(expected):
        own = scaled.advantages[episode, scaled.mask[episode]].tolist()
        assert own == pytest.approx([advantage] * len(own), abs=1e-6)
    assert scaled.mask.sum(dim=1).tolist() == [1, 3, 3, 3]
    centered = toy_targets([1.0, 2.0, 3.0, 6.0], scale_by_std=False)
    assert centered.advantages[:, 0].tolist() == [-2.0, -1.0, 0.0, 3.0]


def test_discounting_reaches_the_return_of_long_responses() -> None:
    """Trap C9: a score of 4 after three tokens is worth 1 at gamma 0.5."""
    targets = toy_targets([1.0, 4.0, 4.0, 8.0], gamma=0.5, scale_by_std=False)
    assert targets.advantages[:, 0].tolist() == pytest.approx([-0.25, -0.25, -0.25, 0.75])


def test_long_responses_weigh_more_or_the_same() -> None:
    """Trap E1: 1 + 3 + 3 + 3 decisions."""
    by_decision = toy_targets([1.0, 2.0, 3.0, 6.0])
    assert by_decision.weight.tolist() == pytest.approx([0.4] * 4)
    by_episode = toy_targets([1.0, 2.0, 3.0, 6.0], aggregation="episode_mean")
    assert by_episode.weight.tolist() == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3])


def test_clipping_higher_above() -> None:
    settings = {"learning_rate": 0.5, "epochs": 4, "episodes_per_update": 16}
    fractions = []
    for high in (None, 0.2, 5.0):
        task = load_task("toy15")
        agent = GRPO(make_envs(task, 16), clip_range_high=high, **settings)
        fractions.append(agent.learn(16, progress=False)[0]["clip_fraction"])
    assert fractions[0] == fractions[1] > fractions[2]


@pytest.mark.parametrize(
    "wrap", [SequenceBandit, lambda envs: MacroAction(envs, 2), lambda envs: EveryK(envs, 2)]
)
def test_it_runs_at_every_granularity_and_density(wrap: Any) -> None:
    agent = GRPO(wrap(make_envs(tiny_gpt2_task(), 8)), episodes_per_update=16)
    rollout = agent.collect()
    assert rollout.group.tolist() == [0] * 8 + [1] * 8
    assert agent.learn(32, progress=False)[-1]["gradient_norm"] > 0
