"""The MDP, returns and GAE (traps C): what is paid where, and how far a value reaches."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import rlhf_env  # noqa: F401 -- registers the environment
from agents.math import gae
from rlhf_env.task import Task
from rlhf_env.tasks import table_task
from tests.toys import EOS, tiny_llama_task
from tests.traps.scripted import play


def learned_value(*, bootstraps: bool) -> float:
    """Let one number V be its own target until it stays: r = 1, gamma 0.98, time limit 8."""
    rewards = torch.ones(1, 8, dtype=torch.float64)
    mask = torch.ones(1, 8, dtype=torch.bool)
    value = 0.0
    for _ in range(500):
        values = torch.full((1, 8), value, dtype=torch.float64)
        last = torch.tensor([value if bootstraps else 0.0], dtype=torch.float64)
        value = (gae(rewards, values, mask, last, 0.98, 0.95) + values).mean().item()
    return value


def test_a_time_limit_is_no_end_of_the_world() -> None:
    """Trap C3: 1 / (1 - 0.98) = 50 with the bootstrap; without it, at most the 8 that were paid."""
    assert learned_value(bootstraps=True) == pytest.approx(50.0, abs=1.0)
    assert learned_value(bootstraps=False) < 8.0


def test_the_score_is_added_to_the_last_kl() -> None:
    """Trap C11: beta 0.1, log-ratios (0.2, -0.1, 0.4) over a uniform reference, score 1."""
    task = table_task(3, 3, lambda prefix: [0.0] * 3, lambda tokens: 1.0, kl_coef=0.1)
    env = gym.make("RLHF-v0", task=task, kl_penalty="sampled")
    env.reset()
    paid = [
        env.step({"token": 1, "logprob": np.float32(ratio - math.log(3))})[1]
        for ratio in (0.2, -0.1, 0.4)
    ]
    assert paid == pytest.approx([-0.02, 0.01, 0.96], abs=1e-6)


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("num_envs", [1, 2])
def test_a_rollout_holds_real_steps_only(num_envs: int, mode: AutoresetMode) -> None:
    """Trap C7: responses of 1, 3, 2 and 1 tokens are 7 steps, whatever happens between them."""
    script = {(2,): [EOS], (3,): [7, 8, EOS], (4,): [9, EOS], (5,): [EOS]}
    rollout = play(tiny_llama_task(), script, num_envs=num_envs, autoreset_mode=mode)
    assert rollout.response_lengths.tolist() == [1, 3, 2, 1]
    assert int(rollout.is_action.sum()) == 7
    assert [ids.tolist() for ids in rollout.responses()] == list(script.values())
    assert rollout.rewards[rollout.is_action].count_nonzero() == 7
    assert rollout.rewards[~rollout.is_action].count_nonzero() == 0


def test_rows_keep_to_themselves() -> None:
    """Trap C16: row i is paid 100 i + t at time t; together they fare as each alone."""
    rows, steps = torch.arange(4.0), torch.arange(6.0)
    rewards = 100 * rows[:, None] + steps
    values = rewards.flip(1) / 7
    mask = steps < torch.tensor([6, 1, 3, 5])[:, None]
    bootstrap = torch.tensor([0.0, 3.0, 0.0, -2.0])
    together = gae(rewards, values, mask, bootstrap, 0.9, 0.8)
    for row in range(4):
        one = slice(row, row + 1)
        alone = gae(rewards[one], values[one], mask[one], bootstrap[one], 0.9, 0.8)
        assert torch.equal(together[one], alone)
    # Row 1 is one step: 100 + 0.9 * 3 - 105 / 7.
    assert together[1].tolist() == pytest.approx([87.7, 0, 0, 0, 0, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("length_limit", "flags"),
    [("score", (True, False)), ("penalize", (True, False)), ("bootstrap", (False, True))],
)
def test_an_end_is_terminated_or_truncated_and_never_both(
    toy15: Task, length_limit: str, flags: tuple[bool, bool]
) -> None:
    """Traps C1 and C2: under the limit, at the limit with EOS, at the limit without."""
    env = gym.make("RLHF-v0", task=toy15, length_limit=length_limit)
    for actions, expected in (
        ([1, 0], (True, False)),
        ([1, 1, 0], (True, False)),
        ([1] * 3, flags),
    ):
        env.reset()
        steps = [env.step(action) for action in actions]
        assert [step[2:4] for step in steps[:-1]] == [(False, False)] * (len(actions) - 1)
        assert steps[-1][2:4] == expected
