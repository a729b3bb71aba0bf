"""The figures recorded beside the committed models, and the estimates they are made of.

Nothing is sampled here: `build` measures, tests measure again and compare.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured mean and its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Expected scores of the response that the proxy likes best among n."""

    n: int
    proxy: float
    gold: float


@dataclass(frozen=True, kw_only=True)
class LanguageModelFigures:
    """How well the language model has learned the grammar."""

    parameters: int
    """Weights, the tied embedding counted once."""
    texts: int
    """Grammar texts it was trained on."""
    grammar_entropy: float
    """Exact, nats per token, on held-out prompts."""
    cross_entropy: Estimate
    """On held-out grammar texts to held-out prompts, nats per token."""

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity of the model over that of the grammar; 1 is perfect."""
        return math.exp(self.cross_entropy.value - self.grammar_entropy)


@dataclass(frozen=True, kw_only=True)
class ProxyFigures:
    """How well the proxy orders pairs of responses to held-out prompts."""

    parameters: int
    """Weights."""
    pairs: int
    """Comparisons it was trained on."""
    rater_accuracy: Estimate
    """Share of labels that agree with gold; gold ties count as errors."""
    label_accuracy: Estimate
    """Share of pairs that the proxy orders as labelled."""
    gold_accuracy: Estimate
    """Share of pairs that the proxy orders as gold does, gold ties left out."""


@dataclass(frozen=True, kw_only=True)
class ReferenceFigures:
    """What the language model's own responses to training prompts are like."""

    proxy: Estimate
    """Proxy score."""
    proxy_sd: float
    """Its spread."""
    gold: Estimate
    """Gold score."""
    gold_sd: float
    """Its spread."""
    unfinished: Estimate
    """Share that does not stop by itself."""
    response_length: Estimate
    """Tokens, end token included."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a build measured."""

    seed: int
    """Of the build."""
    build_seconds: float
    """Wall-clock time of everything."""
    language_model: LanguageModelFigures
    proxy: ProxyFigures
    reference: ReferenceFigures
    best_of_n: tuple[BestOfN, ...]
    """On held-out prompts."""

    def to_json(self) -> str:
        """Return the figures as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Figures:
        """Return the figures that `to_json` wrote to a file."""
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            seed=fields["seed"],
            build_seconds=fields["build_seconds"],
            language_model=LanguageModelFigures(**_with_estimates(fields["language_model"])),
            proxy=ProxyFigures(**_with_estimates(fields["proxy"])),
            reference=ReferenceFigures(**_with_estimates(fields["reference"])),
            best_of_n=tuple(BestOfN(**row) for row in fields["best_of_n"]),
        )


def mean_estimate(values: Tensor) -> Estimate:
    """Return the mean of independent values [B] and its standard error."""
    values = values.double()
    return Estimate(
        value=values.mean().item(),
        standard_error=values.std().item() / math.sqrt(len(values)),
    )


def ratio_estimate(totals: Tensor, counts: Tensor) -> Estimate:
    """Return Σ totals / Σ counts and its standard error by linearisation.

    Args:
        totals: [B] such as nats per text.
        counts: [B] such as tokens per text.
    """
    totals, counts = totals.double(), counts.double()
    ratio = totals.sum() / counts.sum()
    residual = mean_estimate((totals - ratio * counts) / counts.mean())
    return Estimate(value=ratio.item(), standard_error=residual.standard_error)


def best_of_n(proxy: Tensor, gold: Tensor, sizes: Sequence[int]) -> tuple[BestOfN, ...]:
    """Return what choosing the best of n by the proxy earns, without bias from one pool.

    E[gold of the best of n] = Σᵢ C(i−1, n−1)/C(N, n) · gold of proxy rank i, i = 1 the worst
    (Nakano et al. 2021, arXiv:2112.09332, appendix I).

    Args:
        proxy: [Q, N] scores of N responses to each of Q prompts.
        gold: [Q, N] gold scores of the same.
        sizes: every n, at most N.
    """
    order = proxy.argsort(dim=1)
    ranked = proxy.double().gather(1, order).mean(dim=0), gold.double().gather(1, order).mean(dim=0)
    pool = proxy.shape[1]
    rows: list[BestOfN] = []
    for n in sizes:
        ways = [math.comb(rank, n - 1) / math.comb(pool, n) for rank in range(pool)]
        weights = torch.tensor(ways, dtype=torch.float64)
        by_proxy, by_gold = ((weights * scores).sum().item() for scores in ranked)
        rows.append(BestOfN(n=n, proxy=by_proxy, gold=by_gold))
    return tuple(rows)


def _with_estimates(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Estimate(**value) if isinstance(value, dict) else value
        for name, value in fields.items()
    }
