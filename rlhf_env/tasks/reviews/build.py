"""Building the reviews task from a seed: texts, language model, comparisons, proxy, figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from rlhf_env.tasks.pretraining import Training
from rlhf_env.tasks.reviews.assets import save_assets
from rlhf_env.tasks.reviews.comparisons import Rater, compare, sample_for
from rlhf_env.tasks.reviews.figures import Figures
from rlhf_env.tasks.reviews.grammar import grammar_texts
from rlhf_env.tasks.reviews.language_model import MAX_NEW_TOKENS, train_language_model
from rlhf_env.tasks.reviews.measure import (
    measure_best_of_n,
    measure_language_model,
    measure_proxy,
    measure_reference,
)
from rlhf_env.tasks.reviews.proxy import train_proxy
from rlhf_env.tasks.reviews.vocabulary import encoded_prompts, requests


def _language_model_training() -> Training:
    return Training(steps=1_500, batch_size=64, learning_rate=4e-3)


def _proxy_training() -> Training:
    return Training(steps=400, batch_size=64, learning_rate=1e-3)


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How much of everything a build makes."""

    texts: int = 60_000
    """Grammar texts for the language model."""
    held_out_texts: int = 4_000
    """Grammar texts to measure it on."""
    held_out_prompts: int = 24
    """Prompts of the held-out measurements, of the 24 there are."""
    language_model: Training = field(default_factory=_language_model_training)
    """The language model's fit."""
    pairs: int = 4_000
    """Comparisons for the proxy."""
    held_out_pairs: int = 3_000
    """Comparisons to measure it on."""
    proxy: Training = field(default_factory=_proxy_training)
    """The proxy's fit."""
    reference_samples: int = 8_000
    """Responses that fix the proxy's scale."""
    pool: int = 1_024
    """Responses per held-out prompt for best-of-n."""


SMALL = BuildSettings(
    texts=600,
    held_out_texts=40,
    held_out_prompts=2,
    language_model=Training(steps=40, batch_size=16, learning_rate=4e-3),
    pairs=64,
    held_out_pairs=32,
    proxy=Training(steps=8, batch_size=16, learning_rate=1e-3),
    reference_samples=64,
    pool=32,
)


def build(seed: int, settings: BuildSettings, folder: Path) -> Figures:
    """Make the language model and the proxy, measure them, and write them to a folder.

    Args:
        seed: decides everything, for one machine and one number of threads.
        settings: how much of everything.
        folder: gets the assets.

    Returns:
        What was measured, which is also in the folder.
    """
    started = time.perf_counter()
    prompts = encoded_prompts(requests(held_out=False))
    asked, texts = grammar_texts(requests(held_out=False), settings.texts, seed)
    language_model = train_language_model(
        asked, texts, settings.language_model, torch.Generator().manual_seed(seed)
    )
    # A separate stream, so that a longer or shorter training above changes no draw below.
    generator = torch.Generator().manual_seed(seed + 1)
    rater = Rater()
    comparisons = compare(language_model, prompts, settings.pairs, rater, generator)
    proxy = train_proxy(language_model, comparisons, settings.proxy, generator)
    samples = sample_for(
        language_model, prompts, settings.reference_samples, MAX_NEW_TOKENS, generator
    )
    proxy.normalize(*samples)

    evaluated = requests(held_out=True)[: settings.held_out_prompts]
    held_out = encoded_prompts(evaluated)
    # The next seed: held-out texts must not continue the stream of the training texts.
    unseen_texts = grammar_texts(evaluated, settings.held_out_texts, seed + 1)
    unseen = compare(language_model, held_out, settings.held_out_pairs, rater, generator)
    figures = Figures(
        seed=seed,
        language_model=measure_language_model(
            language_model, evaluated, unseen_texts, trained_on=len(texts)
        ),
        proxy=measure_proxy(proxy, unseen, trained_on=len(comparisons)),
        reference=measure_reference(proxy, *samples),
        best_of_n=measure_best_of_n(language_model, proxy, held_out, settings.pool, generator),
        build_seconds=round(time.perf_counter() - started, 1),
    )
    save_assets(folder, language_model, proxy, figures)
    return figures
