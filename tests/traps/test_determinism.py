"""Seeds and determinism (traps I): what differs between processes and must not matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.agents.runs import make_agent

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


def test_a_checkpoint_tells_what_equality_to_the_last_bit_depends_on(tmp_path: Path) -> None:
    """Trap I4: the tests run on one thread, as `conftest.py` says."""
    agent = make_agent()
    agent.learn(8, progress=False)
    agent.save(tmp_path / "saved")
    state = json.loads((tmp_path / "saved" / "state.json").read_text(encoding="utf-8"))
    assert (state["threads"], state["torch"]) == (1, torch.__version__)
