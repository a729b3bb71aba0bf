"""The buffer: what it keeps, what it drops, and what it draws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from agents import Replay
from agents.replay.rows import present_beta
from tests.agents.replay.rollouts import PAD, made_of, names_of


def filled(*rollouts: Any, **settings: Any) -> Replay:
    replay = Replay(**{"capacity": 100, **settings})
    for update, rollout in enumerate(rollouts):
        replay.add(rollout, update, PAD)
    return replay


def test_rows_of_several_widths_stand_together_as_they_were() -> None:
    short, long = made_of([2, 3], length=1), made_of([4], length=3, scores=[7.0])
    stored = filled(long, short).episodes
    assert stored is not None
    assert stored.tokens.tolist() == [[1, 4, 4, 4], [1, 2, PAD, PAD], [1, 3, PAD, PAD]]
    assert stored.response_lengths.tolist() == [3, 1, 1]
    assert stored.reward_terms["score"].sum(1).tolist() == [7.0, 0.0, 0.0]
    assert stored.decision.tolist() == [[-1, 0, 1, 2], [-1, 0, -1, -1], [-1, 0, -1, -1]]
    assert stored.kl_coef is not None
    assert stored.kl_coef.tolist() == [0.5, 0.5, 0.5]


def test_what_is_stored_is_a_copy() -> None:
    rollout = made_of([2])
    replay = filled(rollout)
    rollout.tokens.zero_()
    assert names_of(replay.episodes) == [2]


def test_the_oldest_leave_first_in_whole_groups() -> None:
    replay = filled(made_of([2, 3, 4, 5], 2), made_of([6, 7, 8, 9], 2), capacity=5)
    assert names_of(replay.episodes) == [6, 7, 8, 9]
    assert replay.born.tolist() == [1, 1, 1, 1]


def test_groups_of_several_rollouts_never_share_a_number() -> None:
    stored = filled(*(made_of([n, n + 1], 2) for n in (2, 4, 6))).episodes
    assert stored is not None
    assert stored.group.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_group_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"capacity must hold a group of 4 episodes, got 3"):
        filled(made_of([2, 3, 4, 5], 4), capacity=3)


def test_ages_are_counted_in_updates_and_too_old_episodes_leave() -> None:
    replay = filled(*(made_of([n]) for n in (2, 3, 4, 5)), max_age=2)
    assert names_of(replay.episodes) == [3, 4, 5]
    drawn = replay.draw(10, update=4)
    assert drawn is not None
    assert names_of(drawn.rollout) == [4, 5]
    assert drawn.ages.tolist() == [2, 1]
    assert replay.draw(10, update=9) is None
    assert len(replay) == 0


def test_a_draw_depends_on_seed_update_and_number_alone() -> None:
    replay = filled(made_of(range(100, 150)))

    def names(update: int, **other: Any) -> list[int]:
        drawn = replay.draw(5, update, **other)
        assert drawn is not None
        return names_of(drawn.rollout)

    first = names(1)
    assert len(set(first)) == 5
    assert first == names(1)
    assert first != names(2)
    assert first != names(1, seed=1)
    assert first != names(1, again=1)
    replay.seed = 1
    assert names(1, seed=7) == names(1, seed=1)


def test_all_groups_are_drawn_equally_often_and_whole() -> None:
    # TRL's pull request 6821 closed a buffer that only ever held one group, unnoticed.
    replay = filled(*(made_of([n, n], 2) for n in range(10, 20)))
    counts = torch.zeros(20)
    for update in range(10, 410):
        drawn = replay.draw(4, update, groups=True)
        assert drawn is not None
        names = names_of(drawn.rollout)
        assert len(names) == 4
        assert names[0] == names[1] != names[2] == names[3]
        assert drawn.rollout.group.unique().numel() == 2
        counts[[names[0], names[2]]] += 1
    # 2 of 10 groups in each of 400 draws: binomial with mean 80 and deviation 8.
    assert (counts[10:] - 80).abs().max() < 4 * 8


def test_without_groups_single_episodes_are_drawn() -> None:
    drawn = filled(made_of(range(10, 18), 8)).draw(3, 1)
    assert drawn is not None
    assert len(drawn.rollout) == 3


def test_a_draw_is_narrowed_to_its_own_rows() -> None:
    replay = filled(made_of([2], length=5), made_of([3], length=1))
    widths = set()
    for seed in range(8):
        drawn = replay.draw(1, 2, seed=seed)
        assert drawn is not None
        widths.add((names_of(drawn.rollout)[0], drawn.rollout.tokens.shape[1]))
    assert widths == {(2, 6), (3, 2)}


@pytest.mark.parametrize(
    ("priority", "shares"),
    [("uniform", [0.25, 0.25, 0.25, 0.25]), ("recent", [0.12, 0.16, 0.24, 0.48])],
)
def test_the_first_draw_has_the_probabilities_of_the_priority(
    priority: str, shares: list[float]
) -> None:
    # Ages 4, 3, 2, 1: weights 1/4, 1/3, 1/2, 1, which add up to 25/12.
    replay = filled(*(made_of([n]) for n in range(4)), priority=priority)
    counts = torch.zeros(4)
    for seed in range(2000):
        drawn = replay.draw(1, 4, seed=seed)
        assert drawn is not None
        counts[names_of(drawn.rollout)] += 1
    assert torch.allclose(counts / 2000, torch.tensor(shares), atol=4 * 0.5 / math.sqrt(2000))


def test_the_advantage_is_the_distance_from_the_group() -> None:
    # Distances 1, 1 in the first group, 0 in the second: 1.005 against 0.005 with the floor.
    replay = filled(made_of([2, 3, 4, 5], 2, scores=[1.0, 3.0, 8.0, 8.0]), priority="advantage")
    first = 0
    for seed in range(500):
        drawn = replay.draw(2, 1, seed=seed, groups=True)
        assert drawn is not None
        first += names_of(drawn.rollout) == [2, 3]
    assert first >= 490


def test_a_draw_is_paid_with_the_present_beta() -> None:
    paid = present_beta(made_of([2], scores=[7.0], kl_coef=0.5), 0.1)
    assert paid.kl_coef is not None
    assert paid.kl_coef.tolist() == pytest.approx([0.1])
    assert paid.reward_terms["kl"][0].tolist() == pytest.approx([0, -0.2, -0.2, 0, 0])
    assert paid.rewards[0].tolist() == pytest.approx([0, -0.2, 6.8, 0, 0])


def test_a_paid_policy_part_is_exchanged_too() -> None:
    # beta (log pi_ref - log pi) = beta (-2 + 1).
    rollout = made_of([2], kl_coef=0.5)
    both = rollout.replace(includes_policy_logprob=torch.tensor([True])).with_term(
        "kl", torch.full((1, 5), -0.5)
    )
    assert present_beta(both, 2.0).reward_terms["kl"][0].tolist() == [0, -2.0, -2.0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"capacity": 0}, "capacity must be"),
        ({"capacity": 8, "ratio": 0}, "ratio must be"),
        ({"capacity": 8, "ratio": math.nan}, "ratio must be"),
        ({"capacity": 8, "max_age": 0}, "max_age must be"),
        ({"capacity": 8, "priority": "best"}, "priority must be one of"),
        ({"capacity": 8, "seed": -1}, "seed must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Replay(**settings)


def test_other_reward_terms_are_refused() -> None:
    replay = filled(made_of([2]))
    shaped = made_of([3]).with_term("shaping", torch.zeros(1, 5))
    with pytest.raises(ValueError, match=r"reward terms of those stored, \['kl', 'score'\]"):
        replay.add(shaped, 1, PAD)


def test_episodes_that_do_not_say_their_beta_are_refused() -> None:
    with pytest.raises(ValueError, match="how their KL was paid"):
        filled(made_of([2]).replace(kl_coef=None))
