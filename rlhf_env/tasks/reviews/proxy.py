"""The proxy reward of the reviews task: its training on comparisons and its accuracy.

The loss and the model are those of `rlhf_env.rewards.bradley_terry`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaForCausalLM, LlamaModel

from rlhf_env.rewards.bradley_terry import (
    ScalarRewardModel,
    bradley_terry_loss,
    padded,
    prefix_bradley_terry_loss,
)
from rlhf_env.tasks.pretraining import Training, apply_gradient, batches, build_optimizer
from rlhf_env.tasks.reviews.comparisons import Comparisons
from rlhf_env.tasks.reviews.language_model import model_config

# Finished reviews are what raters judged; prefixes only borrow their labels.
PREFIX_WEIGHT = 0.2


def new_proxy() -> ScalarRewardModel:
    """Return a proxy whose weights are to be loaded; the global generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        return ScalarRewardModel(LlamaModel(model_config()))


def train_proxy(
    language_model: LlamaForCausalLM,
    comparisons: Comparisons,
    training: Training,
    generator: torch.Generator,
) -> ScalarRewardModel:
    """Fit a proxy to comparisons, its trunk starting as the language model's.

    Args:
        language_model: supplies the first weights; not changed.
        comparisons: labelled pairs.
        training: steps and rates.
        generator: draws the order of the pairs.
    """
    proxy = new_proxy()
    proxy.trunk.load_state_dict(language_model.model.state_dict())
    optimizer, scheduler = build_optimizer(proxy, training)
    order = batches(len(comparisons), training, generator)
    for rows in tqdm(order, desc="proxy", total=training.steps):
        apply_gradient(proxy, _loss(proxy, comparisons, rows), optimizer, scheduler)
    return proxy.eval()


def accuracy(proxy: ScalarRewardModel, comparisons: Comparisons) -> Tensor:
    """Return which pairs the proxy orders as the labels do, [P] bool; a tie is an error."""
    chosen = proxy(comparisons.prompts, comparisons.chosen)
    return chosen > proxy(comparisons.prompts, comparisons.rejected)


def gold_accuracy(proxy: ScalarRewardModel, comparisons: Comparisons) -> Tensor:
    """Return which pairs the proxy orders as the gold reward does, [Q] bool; gold ties left out."""
    agrees = accuracy(proxy, comparisons) == (comparisons.gold_margin > 0.0)
    return agrees[comparisons.gold_margin != 0.0]


def _loss(proxy: ScalarRewardModel, comparisons: Comparisons, rows: list[int]) -> Tensor:
    prompts = [comparisons.prompts[i] for i in rows]
    chosen = [comparisons.chosen[i] for i in rows]
    rejected = [comparisons.rejected[i] for i in rows]
    texts = [torch.cat(pair) for pair in zip(prompts * 2, chosen + rejected, strict=True)]
    scores = proxy.scores(*padded(texts))
    first, second = scores.chunk(2)
    ends = torch.tensor([len(text) for text in texts])
    final = scores.gather(1, ends[:, None] - 1)[:, 0]
    starts = torch.tensor([len(prompt) for prompt in prompts])
    shorter = torch.minimum(*ends.chunk(2)) - 1
    positions = torch.arange(scores.shape[1])
    is_compared = (positions >= starts[:, None]) & (positions < shorter[:, None])
    final_loss = bradley_terry_loss(*final.chunk(2))
    return final_loss + PREFIX_WEIGHT * prefix_bradley_terry_loss(first, second, is_compared)
