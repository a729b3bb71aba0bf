"""Runs that must come out the same in any number of processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents import (
    DAPO,
    DPO,
    GRPO,
    KTO,
    PPO,
    RLOO,
    SFT,
    TRPO,
    DrGRPO,
    KLPenaltyPPO,
    NashMD,
    Reinforce,
)
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.preference.preference_runs import RAGGED
from tests.agents.samplers.uniform import Uniform
from tests.toys import EOS, tiny_gpt2_task, tiny_llama, tiny_llama_task
from wrappers.vector import EveryK, RecordEpisodes

STORIES = Path(__file__).parents[4] / "shared" / "data" / "stories260k"


def toy15(kind: type[Any], **settings: Any) -> Any:
    return kind(make_envs("toy15"), **{"learning_rate": 0.005, **settings})  # type: ignore[arg-type]


def gpt2(kind: type[Any], **settings: Any) -> Any:
    settings = {"learning_rate": 5e-4, "episodes_per_update": 8, **settings}
    return kind(make_envs(tiny_gpt2_task()), **settings)


def letters(prompts: list[str], responses: list[str]) -> list[float]:
    """How many vowels a response has for each letter: seldom the same of two."""
    return [sum(text.count(v) for v in "aeiou") / (1 + len(text)) for text in responses]


def stories(kind: type[Any], **settings: Any) -> Any:
    # In float64: of some thousand tokens float32 draws one or two otherwise, however it is batched.
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    prompts = ["Once upon a time", "Tom had a dog.", "One day", "The sun was", "Lily and Ben"]
    ids = [torch.tensor(tokenizer(text).input_ids) for text in prompts]
    task = Task(
        name="stories",
        tokenizer=tokenizer,
        reference=AutoModelForCausalLM.from_pretrained(STORIES, dtype=torch.float64),
        prompts=ids,
        eval_prompts=ids,
        reward=letters,
        max_new_tokens=16,
        kl_coef=0.05,
    )
    settings = {"learning_rate": 5e-5, "episodes_per_update": 10, **settings}
    if kind is DPO:
        # At the reference itself the sign of an implicit reward is that of its rounding.
        settings["policy"] = AutoModelForCausalLM.from_pretrained(STORIES, dtype=torch.float64)
        with torch.no_grad():
            settings["policy"].model.norm.weight.mul_(1.05)
    return kind(make_envs(task, num_envs=16), **settings)


def recorded(folder: Path) -> Any:
    """Rewards of half of a response's tokens, and every episode in a file."""
    envs = EveryK(RecordEpisodes(make_envs(tiny_gpt2_task()), folder / "episodes.jsonl"), 2)
    return DrGRPO(envs, group_size=4, episodes_per_update=12, learning_rate=5e-4)


def drawn_seed(folder: Path) -> Any:
    agent = toy15(PPO, episodes_per_update=6, minibatches=2, seed=None)
    (folder / "seed").write_text(str(agent.config.seed))
    return agent


def demonstrations() -> list[tuple[Any, Any]]:
    return [(torch.tensor([2, 3 + i]), torch.tensor([4, 5, 6 + i, EOS])) for i in range(5)]


Scenario = tuple[Callable[[Path], Any], int]
"""What makes an agent, and its updates."""

# Steps are small, so that rounding stays rounding: one process that batches its rows otherwise does
# not come closer to itself. For the same reason groups are not divided by the spread of returns
# where that may be the rounding of a KL of 0. Every number of episodes leaves uneven shares for
# three processes, or cuts through groups.
TOY: dict[str, Scenario] = {
    "ppo": (lambda _: toy15(PPO, episodes_per_update=20), 20),
    "grpo": (lambda _: toy15(GRPO, group_size=5, episodes_per_update=15), 20),
    "rloo": (
        lambda _: toy15(RLOO, group_size=4, episodes_per_update=20, whiten_advantages=True),
        20,
    ),
    "dpo": (lambda _: toy15(DPO, episodes_per_update=14, kl_coef=0.1), 20),
    "dapo": (lambda _: toy15(DAPO, group_size=2, episodes_per_update=10), 6),
    "reinforce": (lambda _: gpt2(Reinforce, baseline="greedy", episodes_per_update=7), 3),
    "kl_penalty": (lambda _: gpt2(KLPenaltyPPO, kl_coef=0.1, kl_target=0.5), 3),
    "trpo": (lambda _: gpt2(TRPO, episodes_per_update=7, minibatches=1, max_kl=1e-5), 2),
    "separate_critic": (lambda _: gpt2(PPO, critic="separate", minibatches=4, epochs=2), 3),
    "zero_rows": (lambda _: gpt2(PPO, episodes_per_update=4, minibatches=4, epochs=1), 3),
    "fixed_pairs": (
        lambda _: DPO(
            make_envs(tiny_llama_task()),
            preferences=RAGGED,
            policy=tiny_llama(seed=1).requires_grad_(True),
            episodes_per_update=10,
            minibatches=2,
            learning_rate=0.003,
        ),
        4,
    ),
    "kto": (lambda _: gpt2(KTO, group_size=4, episodes_per_update=12, kl_coef=0.1), 3),
    "nash_md": (lambda _: gpt2(NashMD, episodes_per_update=6, kl_coef=0.1), 3),
    "sft": (
        lambda _: gpt2(SFT, demonstrations=demonstrations(), episodes_per_update=5, minibatches=1),
        3,
    ),
    "texts": (
        lambda _: gpt2(PPO, ptx_coef=0.5, pretraining=[torch.arange(2, 5 + i) for i in range(7)]),
        2,
    ),
    "recorded": (recorded, 3),
    "drawn_seed": (drawn_seed, 2),
    "stale": (
        lambda _: toy15(
            RLOO, episodes_per_update=12, staleness=2, behavior_noise=0.1, importance="sequence"
        ),
        5,
    ),
    "elsewhere": (
        lambda _: toy15(PPO, episodes_per_update=8, sampler=Uniform(), importance="token"),
        3,
    ),
}
QUICK = {name: TOY[name] for name in ("dapo", "zero_rows", "fixed_pairs", "stale", "elsewhere")}
STORY_MODEL: dict[str, Scenario] = {
    "ppo": (lambda _: stories(PPO, minibatches=2), 20),
    "grpo": (lambda _: stories(GRPO, group_size=5), 20),
    "rloo": (lambda _: stories(RLOO, group_size=5), 20),
    "dpo": (lambda _: stories(DPO, kl_coef=0.1, minibatches=1), 20),
    "lora": (lambda _: stories(GRPO, group_size=5, lora_rank=4, learning_rate=1e-4), 20),
}
LORA: dict[str, Scenario] = {
    "lora": (
        lambda _: DrGRPO(
            make_envs(tiny_llama_task()),
            group_size=3,
            episodes_per_update=9,
            lora_rank=2,
            learning_rate=0.01,
        ),
        4,
    ),
}
SETS = {"quick": QUICK, "toy": TOY, "stories": STORY_MODEL, "lora": LORA}
