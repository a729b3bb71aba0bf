"""Without the extras' packages the core works, and the rest names the extra that it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What the extras bring, less what Stable-Baselines3 brings anyway.
EXTRAS = (
    *("sklearn", "scipy", "pyarrow", "peft", "accelerate", "rich", "tyro", "jinja2", "ray"),
    *("datasets", "markupsafe", "starlette", "uvicorn", "krippendorff"),
)
CORE = """
import gymnasium as gym
import rlhf_env
from agents import GRPO, PPO

env = gym.make("rlhf_env:RLHF-v0", task="toy15")
env.reset(seed=0)
env.step(0)
envs = gym.make_vec("RLHF-v0", num_envs=8, task="toy15")
for agent in (
    PPO(envs, learning_rate=0.05, episodes_per_update=8),
    GRPO(envs, learning_rate=0.05, episodes_per_update=8, group_size=4),
):
    assert len(agent.learn(total_episodes=16)) == 2
    agent.evaluate(episodes=8)
rlhf_env.exact.solve(rlhf_env.load_task("toy15"), kl_coef=0.1)
rlhf_env.load_task("reviews")
"""
LORA = """
import gymnasium as gym
import rlhf_env
from agents import PPO
PPO(gym.make_vec("RLHF-v0", num_envs=2, task="reviews"), lora_rank=2)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    blocked = f"import sys\nfor name in {EXTRAS!r}: sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False
    )


def test_the_core_needs_none_of_them() -> None:
    done = run(CORE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "package", "extra"),
    [
        (LORA, "peft", "lora"),
        ("from rlhf_env.rewards import TextRegressionReward", "scipy", "rewards"),
        ("import rlhf_env.rewards.metrics.pair", "scipy", "rewards"),
        ("import studies.labelling.web.protection", "starlette", "label"),
        ("from rlhf_env.rewards import train; train('pairs.jsonl', 'model')", "scipy", "rewards"),
    ],
)
def test_what_needs_an_extra_names_it(code: str, package: str, extra: str) -> None:
    done = run(code)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"rlhf_env.extras.MissingExtraError: this needs the package {package}, which is not "
        f"installed; run: pip install 'rlhf-env[{extra}]'"
    )
