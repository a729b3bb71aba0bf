from __future__ import annotations

import pytest

import wrappers
from rlhf_env import exact
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.tasks.table import table_task
from rlhf_env.tasks.toy15 import reference_logits
from rlhf_env.tasks.toy15 import reward as toy15_reward
from tests.wrappers.episodes import paid, soft_optimum


def test_every_step_is_paid_the_whole_prefix(toy15: Task) -> None:
    env = wrappers.PrefixReward(RLHFEnv(toy15))
    assert paid(env, (1, 2, 0)) == pytest.approx([1.0, 0.5, 0.75], abs=1e-9)
    assert paid(env, (1, 1, 1)) == pytest.approx([1.0, 2.0, 3.0], abs=1e-9)


def test_the_end_is_paid_its_penalty(toy15: Task) -> None:
    env = wrappers.PrefixReward(RLHFEnv(toy15, length_limit="penalize", missing_eos_penalty=0.5))
    assert paid(env, (1, 1, 1)) == pytest.approx([1.0, 2.0, 2.5], abs=1e-9)


def test_a_truncated_end_is_paid_like_any_prefix(toy15: Task) -> None:
    env = wrappers.PrefixReward(RLHFEnv(toy15, length_limit="bootstrap"))
    assert paid(env, (1, 1, 2)) == pytest.approx([1.0, 2.0, 1.5], abs=1e-9)


def test_it_moves_the_optimum(toy15: Task) -> None:
    biased = soft_optimum(wrappers.PrefixReward(RLHFEnv(toy15)), toy15, gamma=1.0)
    # Ending at once is worth 0.25 either way, but a first 1 is now paid three times.
    assert biased[()] == pytest.approx([0.000270, 0.999589, 0.000141], abs=1e-6)
    optimum = exact.solve(toy15, kl_coef=0.5)
    assert optimum.policy[()] == pytest.approx([0.087267, 0.857236, 0.055497], abs=1e-6)
    # What the policy that is best under the biased reward is worth under the task's own.
    found = exact.evaluate(toy15, biased, kl_coef=0.5)
    assert (optimum.objective, optimum.reward, optimum.kl) == pytest.approx(
        (1.125295, 2.375837, 2.501086), abs=1e-6
    )
    assert (found.objective, found.reward, found.kl) == pytest.approx(
        (1.018389, 2.789123, 3.541466), abs=1e-6
    )


def test_the_biased_optimum_is_that_of_the_sum_of_prefix_scores(toy15: Task) -> None:
    def sum_of_prefixes(tokens: tuple[int, ...]) -> float:
        return sum(toy15_reward(tokens[:t]) for t in range(1, len(tokens) + 1))

    summed = table_task(3, 3, reference_logits, sum_of_prefixes)
    expected = exact.solve(summed, kl_coef=0.5).policy
    biased = soft_optimum(wrappers.PrefixReward(RLHFEnv(toy15)), toy15, gamma=1.0)
    for prefix, probabilities in expected.items():
        assert biased[prefix] == pytest.approx(probabilities, abs=1e-6)


def test_differences_of_the_same_scores_do_not_move_it(toy15: Task) -> None:
    telescoping = soft_optimum(wrappers.PrefixDifference(RLHFEnv(toy15)), toy15, gamma=1.0)
    assert telescoping[()] == pytest.approx([0.087267, 0.857236, 0.055497], abs=1e-6)
