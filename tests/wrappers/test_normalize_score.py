from __future__ import annotations

import pytest

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.tasks import table_task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.wrappers.episodes import TOY15, as_rollout, paid, play, transformed


def test_score_and_term_are_mapped(toy15: Task) -> None:
    env = wrappers.NormalizeScore(RLHFEnv(toy15, kl_coef=0.0), mean=0.5, sd=2.0)
    steps = play(env, (1, 1, 1))
    assert [step[1] for step in steps] == pytest.approx([0.0, 0.0, 1.25], abs=1e-9)
    assert steps[-1][4]["score"] == 1.25
    assert paid(env, (0,)) == [-0.125]


def test_a_penalty_for_a_missing_eos_counts_in_the_new_units(toy15: Task) -> None:
    env = RLHFEnv(toy15, length_limit="penalize", missing_eos_penalty=0.75)
    assert paid(wrappers.NormalizeScore(env, 0.5, 2.0), (1, 1, 1)) == [0.0, 0.0, 0.5]


def test_a_truncated_episode_has_no_score_to_map(toy15: Task) -> None:
    env = wrappers.NormalizeScore(RLHFEnv(toy15, length_limit="bootstrap"), mean=0.5, sd=2.0)
    steps = play(env, (1, 1, 1))
    assert steps[-1][4]["reward_terms"]["score"] == 0.0
    assert steps[-1][4]["score"] == 0.0


def test_a_density_outside_pays_mapped_prefixes(toy15: Task) -> None:
    # Prefix scores 1, 0.5, 0.75 become 0.25, 0, 0.125; the empty prefix counts as 0.
    env = wrappers.EveryK(wrappers.NormalizeScore(RLHFEnv(toy15), 0.5, 2.0), k=1)
    assert paid(env, (1, 2, 0)) == pytest.approx([0.25, -0.25, 0.125], abs=1e-9)
    env = wrappers.PrefixReward(wrappers.NormalizeScore(RLHFEnv(toy15), 0.5, 2.0))
    assert paid(env, (1, 2, 0)) == pytest.approx([0.25, 0.0, 0.125], abs=1e-9)
    env = wrappers.EveryK(wrappers.NormalizeScore(RLHFEnv(toy15), 0.5, 2.0), k=2)
    for response, score in TOY15.items():
        assert sum(paid(env, response)) == pytest.approx((score - 0.5) / 2.0, abs=1e-9)


@pytest.mark.parametrize("name", ["EveryK", "PrefixDifference", "PrefixReward"])
def test_a_density_inside_is_refused_with_the_order_that_works(toy15: Task, name: str) -> None:
    options = {"k": 2} if name == "EveryK" else {}
    env = getattr(wrappers, name)(RLHFEnv(toy15), **options)
    with pytest.raises(ValueError, match=rf"inside {name}: {name}\(NormalizeScore\(env, \.\.\.\)"):
        wrappers.NormalizeScore(env, 0.5, 2.0)


def test_the_constants_are_those_of_the_reference(toy15: Task) -> None:
    env = wrappers.NormalizeScore(RLHFEnv(toy15), episodes=8192)
    # E[score] and its spread under the reference, by enumeration: 0.039595 and 0.900939.
    assert env.mean == pytest.approx(0.039595, abs=0.03)
    assert env.sd == pytest.approx(0.900939, abs=0.03)
    assert wrappers.NormalizeScore(RLHFEnv(toy15), episodes=8192).mean == env.mean
    assert wrappers.NormalizeScore(RLHFEnv(toy15), episodes=64, seed=1).mean != env.mean
    vector = wrappers.vector.NormalizeScore(RLHFVectorEnv(3, toy15), episodes=8192)
    assert (vector.mean, vector.sd) == (env.mean, env.sd)


def test_a_rollout_reports_the_mapped_score(toy15: Task) -> None:
    env = wrappers.NormalizeScore(RLHFEnv(toy15), mean=0.5, sd=2.0)
    rollout = transformed(env, as_rollout(toy15, [(0, [1, 1, 1]), (0, [0])]))
    assert rollout.score.tolist() == [1.25, -0.125]


def test_scores_that_do_not_differ_are_refused() -> None:
    task = table_task(2, 2, lambda prefix: [0.0, 0.0], lambda tokens: 1.0)
    with pytest.raises(ValueError, match="do not differ, so they give no sd"):
        wrappers.NormalizeScore(RLHFEnv(task), episodes=16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": 1.0}, "mean and sd must be given together, got mean=1.0 and sd=None"),
        ({"mean": 0.0, "sd": 0.0}, "sd must be positive, got 0"),
        ({"mean": 0.0, "sd": -1.0}, "sd must be a finite number >= 0"),
        ({"episodes": 1}, "episodes must be an integer >= 2, got 1"),
    ],
)
def test_constants_out_of_range_are_refused(toy15: Task, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrappers.NormalizeScore(RLHFEnv(toy15), **options)


def test_it_is_done_once(toy15: Task) -> None:
    env = wrappers.NormalizeScore(RLHFEnv(toy15), 0.5, 2.0)
    with pytest.raises(ValueError, match="NormalizeScore is already inside"):
        wrappers.NormalizeScore(env, 0.5, 2.0)
