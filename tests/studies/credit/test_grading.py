from __future__ import annotations

import math

import pytest
import torch

from agents import Policy, collect, credit
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.vector_env import RLHFVectorEnv
from studies.credit.grading import by_token, causal_tokens, episode_aucs, mean_auc
from studies.credit.sources import prefix_differences
from tests.agents.episodes import make_envs
from tests.wrappers.episodes import as_rollout

ALL = torch.ones(1, 4, dtype=torch.bool)


def bools(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_the_area_of_known_credit() -> None:
    # The example of scikit-learn's documentation.
    given = torch.tensor([[0.1, 0.4, 0.35, 0.8]])
    assert episode_aucs(given, bools([0, 0, 1, 1]), ALL) == [0.75]
    assert episode_aucs(-given, bools([0, 0, 1, 1]), ALL) == [0.25]
    # Of four pairs of a causal token and another, two are in order and one is a tie.
    tied = torch.tensor([[1.0, 2.0, 2.0, 3.0]])
    assert episode_aucs(tied, bools([0, 1, 0, 1]), ALL) == [0.875]
    assert episode_aucs(torch.full((1, 4), 0.3), bools([0, 1, 0, 1]), ALL) == [0.5]


def test_episodes_without_both_kinds_of_tokens_and_padding_are_left_out() -> None:
    given = torch.tensor([[9.0, 1.0, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    causal = bools([1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0])
    chosen = bools([0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1])
    aucs = episode_aucs(given, causal, chosen)
    assert aucs == [1.0] and mean_auc(aucs) == 1.0
    assert math.isnan(mean_auc([]))


def paid(task: Task, *responses: list[int]) -> Rollout:
    return RLHFVectorEnv(1, task).evaluate(as_rollout(task, [(0, ids) for ids in responses]))


def test_causal_tokens_change_the_state() -> None:
    task = load_task("needles-8", needles=2)
    rollout = paid(task, [7, 1, 1, 2, 2, 0], [2, 2, 0], [0])
    expected = bools([0, 0, 1, 0, 1, 0, 0], [0] * 7, [0] * 7)
    assert torch.equal(causal_tokens(task, rollout), expected)


def test_a_task_without_automaton_has_none(toy15: Task) -> None:
    with pytest.raises(ValueError, match="task 'toy15' has no automaton"):
        causal_tokens(toy15, paid(toy15, [1, 0]))


def test_values_are_placed_where_the_tokens_are() -> None:
    rollout = paid(load_task("needles-8"), [7, 0], [1, 2, 0])
    placed = by_token(torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]]), rollout)
    assert placed.tolist() == [[0, 1, 2, 0], [0, 3, 4, 5]]


@pytest.mark.parametrize("name", ["needles-8", "needles-32", "chain-8"])
def test_prefix_differences_find_all_and_equal_shares_nothing(name: str) -> None:
    task = load_task(name)
    rollout = collect(make_envs(task, 16), Policy(task.reference, 8), 64, seed=0)
    causal = causal_tokens(task, rollout)
    perfect = prefix_differences(task.reward, rollout)  # type: ignore[arg-type]
    aucs = episode_aucs(perfect, causal, rollout.is_action)
    assert len(aucs) > 30 and set(aucs) == {1.0}
    shares = credit.uniform(rollout).reward_terms["score"]
    assert set(episode_aucs(shares, causal, rollout.is_action)) == {0.5}
