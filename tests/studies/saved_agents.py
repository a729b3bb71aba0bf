"""Saved agents to evaluate and compare: runs of scripts/train.py, and one of ``agent.save``."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym

from agents import PPO
from rlhf_env import load_task
from studies.cli.commands.train import main as train
from tests.toys import tiny_llama, tiny_tokenizer

QUICK = ["--episodes", "16", "--episodes-per-update", "8", "--eval-episodes", "8", "--samples", "1"]


def train_on_toy15(out: Path, *more: str) -> Path:
    assert train(["--task", "toy15", *QUICK, "--out", str(out), *more]) == 0
    return out


def save_untrained(out: Path) -> Path:
    PPO(gym.make_vec("RLHF-v0", num_envs=4, task=load_task("toy15"))).save(out)
    return out


def write_model(folder: Path) -> None:
    """Write a model, prompts, ratings and a reward of one's own."""
    tiny_llama().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    texts = [f"w{i} w{j}" for i in range(2, 12) for j in range(2, 12)]
    rows = [{"text": text, "mean": 1.0 - 2.0 * ("w3" in text)} for text in texts]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompts.txt").write_text("\n".join(texts))
    (folder / "my_reward.py").write_text(
        "def longest(prompts, responses):\n    return [float(len(text)) for text in responses]\n"
    )


MODEL = ["--model", "model", "--prompts", "prompts.txt", "--max-new-tokens", "4"]
