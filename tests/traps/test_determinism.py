"""Seeds and determinism (traps I): what differs between processes and must not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import gymnasium as gym
import rlhf_env
from agents import GRPO, PPO
for kind in (PPO, GRPO):
    agent = kind(gym.make_vec("RLHF-v0", num_envs=8, task="reviews"), episodes_per_update=16)
    for row in agent.learn(32, progress=False):
        print({k: v.hex() for k, v in row.items() if k != "tokens_per_second"})
"""


@pytest.mark.slow
def test_the_order_of_hashes_does_not_matter() -> None:
    """Trap I5: to the last bit, under two hash seeds."""

    def printed(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", RUN],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first, second = printed("1"), printed("2")
    assert first == second
    assert len(first.splitlines()) == 4
