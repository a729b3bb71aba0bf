"""The proxies: reward models trained on noisy comparisons of the reference's reviews."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel

from rlhf_env import Task
from rlhf_env.rewards import (
    Comparison,
    Ensemble,
    PreferenceData,
    RewardSettings,
    TrainedReward,
    load_reward,
    save_reward,
    train,
)
from rlhf_env.tasks.reviews.comparisons import Rater, compare, sample_for
from studies.overoptimization.settings import Fitting, Judge, Proxy

# Streams of random numbers of one seed.
COMPARISONS, REFERENCE, POOL, ORDER = range(4)
# A few pairs hold an empty review and are left out; so many more are drawn to begin with.
_SPARE = 1.05
_PATIENCE = 6


def generator(seed: int, stream: int) -> torch.Generator:
    """Return a new generator for one use of a seed."""
    return torch.Generator().manual_seed(number(seed, stream))


def number(seed: int, stream: int) -> int:
    """Return a seed for one use of a seed, below 2³²."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])


def train_proxy(proxy: Proxy, fitting: Fitting, task: Task, folder: Path) -> None:
    """Train a proxy's reward models on their own set of comparisons and write them into a folder.

    Each is shifted and scaled to mean 0 and spread 1 on responses of the reference.
    """
    settings = RewardSettings(
        epochs=fitting.epochs(proxy.pairs),
        batch_size=fitting.batch_size,
        learning_rate=fitting.learning_rate,
        evaluations_per_epoch=1,
        patience=_PATIENCE,
        members=proxy.members,
        seed=number(proxy.seed, ORDER),
        device="cpu",
    )
    data = comparisons(task, proxy.pairs, proxy.seed)
    trunk = first_layers(cast(LlamaForCausalLM, task.reference), proxy.layers)
    trained = train(trunk, data, tokenizer=task.tokenizer, settings=settings)
    sample = reference_sample(task, fitting.reference, proxy.seed)
    for member in trained.members:
        member.normalize(*sample)
    save_reward(trained.reward, folder)


def load_judge(judge: Judge, folder: Path) -> TrainedReward | Ensemble:
    """Return what `train_proxy` wrote, under the judge's rule; the first model if it is single."""
    loaded = load_reward(folder)
    members = loaded.members if isinstance(loaded, Ensemble) else (loaded,)
    return Ensemble(members, judge.rule) if judge.is_ensemble else cast(TrainedReward, members[0])


def comparisons(task: Task, pairs: int, seed: int) -> PreferenceData:
    """Return raters' labels for pairs of the reference's finished, short reviews."""
    model = cast(LlamaForCausalLM, task.reference)
    drawn = compare(
        model, task.prompts, round(_SPARE * pairs), Rater(), generator(seed, COMPARISONS)
    )
    rows = zip(drawn.prompts, drawn.chosen, drawn.rejected, strict=True)
    records = [
        Comparison(
            prompt=task.decode(prompt),
            chosen=_words(task, chosen),
            rejected=_words(task, rejected),
        )
        for prompt, chosen, rejected in rows
        if min(len(chosen), len(rejected)) > 1
    ]
    return PreferenceData(records=tuple(records[:pairs]), kind="comparisons")


def first_layers(model: LlamaForCausalLM, layers: int) -> PreTrainedModel:
    """Return a copy of a language model that ends after its first layers."""
    shorter = copy.deepcopy(model)
    shorter.model.layers = shorter.model.layers[:layers]
    shorter.config.num_hidden_layers = layers
    return shorter


def reference_sample(task: Task, count: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return prompts of the training and the reference's responses to them."""
    model = cast(LlamaForCausalLM, task.reference)
    chosen = generator(seed, REFERENCE)
    return sample_for(model, task.prompts, count, task.max_new_tokens, chosen)


def _words(task: Task, response: Tensor) -> str:
    """Return a finished response as text; the end token is put back when it is encoded."""
    return task.decode(response[:-1])
