"""Measuring the models of the reviews task: what a build records and tests measure again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaForCausalLM

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.tasks.pretraining import cross_entropy, parameter_count
from rlhf_env.tasks.reviews.comparisons import Comparisons, sample_for
from rlhf_env.tasks.reviews.figures import (
    BestOfN,
    LanguageModelFigures,
    ProxyFigures,
    ReferenceFigures,
    best_of_n,
    mean_estimate,
    ratio_estimate,
)
from rlhf_env.tasks.reviews.gold import GoldReward
from rlhf_env.tasks.reviews.grammar import Grammar
from rlhf_env.tasks.reviews.language_model import MAX_NEW_TOKENS
from rlhf_env.tasks.reviews.proxy import accuracy, gold_accuracy
from rlhf_env.tasks.reviews.vocabulary import EOS, Request, vocabulary


def measure_language_model(
    model: LlamaForCausalLM,
    asked: Sequence[Request],
    texts: tuple[list[Tensor], list[Tensor]],
    *,
    trained_on: int,
) -> LanguageModelFigures:
    """Compare the model's cross-entropy with the grammar's exact entropy.

    Args:
        model: the language model.
        asked: held-out requests, each as often as any other in ``texts``.
        texts: prompts and grammar texts, as ids.
        trained_on: texts in the training.
    """
    grammars = [Grammar(request) for request in asked]
    entropy = sum(grammar.entropy() for grammar in grammars)
    tokens = sum(grammar.expected_length() for grammar in grammars)
    lengths = torch.tensor([len(text) for text in texts[1]])
    return LanguageModelFigures(
        parameters=parameter_count(model),
        texts=trained_on,
        grammar_entropy=entropy / tokens,
        cross_entropy=ratio_estimate(cross_entropy(model, *texts), lengths),
    )


def measure_proxy(
    proxy: ScalarRewardModel, unseen: Comparisons, *, trained_on: int
) -> ProxyFigures:
    """Return how the proxy does on comparisons of held-out prompts."""
    return ProxyFigures(
        parameters=parameter_count(proxy),
        pairs=trained_on,
        rater_accuracy=mean_estimate(unseen.gold_margin > 0.0),
        label_accuracy=mean_estimate(accuracy(proxy, unseen)),
        gold_accuracy=mean_estimate(gold_accuracy(proxy, unseen)),
    )


def measure_reference(
    proxy: ScalarRewardModel, prompts: list[Tensor], responses: list[Tensor]
) -> ReferenceFigures:
    """Return scores and lengths of the reference's own responses."""
    proxy_scores, gold_scores = proxy(prompts, responses), GoldReward()(prompts, responses)
    end = vocabulary().index(EOS)
    return ReferenceFigures(
        proxy=mean_estimate(proxy_scores),
        proxy_sd=proxy_scores.std().item(),
        gold=mean_estimate(gold_scores),
        gold_sd=gold_scores.std().item(),
        unfinished=mean_estimate(torch.tensor([row[-1] != end for row in responses])),
        response_length=mean_estimate(torch.tensor([len(row) for row in responses])),
    )


def measure_best_of_n(
    model: LlamaForCausalLM,
    proxy: ScalarRewardModel,
    prompts: Sequence[Tensor],
    pool: int,
    generator: torch.Generator,
) -> tuple[BestOfN, ...]:
    """Return proxy and gold of best-of-n by the proxy, n doubling up to half the pool."""
    gold = GoldReward()
    scores: list[tuple[Tensor, Tensor]] = []
    for prompt in tqdm(prompts, desc="best of n"):
        asked, said = sample_for(model, [prompt], pool, MAX_NEW_TOKENS, generator)
        scores.append((proxy(asked, said), gold(asked, said)))
    by_proxy, by_gold = (torch.stack(rows) for rows in zip(*scores, strict=True))
    return best_of_n(by_proxy, by_gold, [2**k for k in range(pool.bit_length() - 1)])
