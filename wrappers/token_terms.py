"""Reward terms that are a function of the text so far: what each token of a response is paid.

No environment is in here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.pay import Pay, Responses

TokenTerms = Callable[[Tensor, Tensor], Tensor]


def token_pay(term: str, tokens: TokenTerms, newest: TokenTerms | None = None) -> Pay:
    """Return the pay of a reward term that follows from the text so far.

    Args:
        term: its name in ``reward_terms``.
        tokens: ``f(prompt [P], response [T]) -> [T]``, what each token is paid; no entry may
            depend on later tokens, since a step knows none.
        newest: ``f(prompt, response) -> scalar``, what the last token is paid, where that costs
            less than the whole.
    """
    return Pay(
        term=term,
        newest=partial(_newest, newest or partial(_last, tokens)),
        rollout=partial(_rollout, term, tokens),
    )


def length_terms(response: Tensor, coef: float, free_tokens: int) -> Tensor:
    """Return −coef for every token after the first ``free_tokens``, else 0, [T] float64."""
    counts = torch.arange(1, len(response) + 1, device=response.device)
    return torch.where(counts > free_tokens, -float(coef), 0.0).double()


def overlong_terms(response: Tensor, coef: float, max_tokens: int, cache_tokens: int) -> Tensor:
    """Return −coef / cache_tokens for each of the last ``cache_tokens`` up to ``max_tokens``.

    Returns:
        [T] float64; 0 before those tokens and after them, so the sum is never below −coef.
    """
    counts = torch.arange(1, len(response) + 1, device=response.device)
    is_overlong = (counts > max_tokens - cache_tokens) & (counts <= max_tokens)
    price = torch.tensor(-float(coef) / cache_tokens, dtype=torch.float64, device=response.device)
    return torch.where(is_overlong, price, 0.0)


def repetition_terms(response: Tensor, coef: float, n: int) -> Tensor:
    """Return −coef where a token completes n tokens that the response held already, [T] float64."""
    terms = torch.zeros(len(response), dtype=torch.float64, device=response.device)
    if len(response) > n:
        _, kinds = torch.unique(response.unfold(0, n, 1), dim=0, return_inverse=True)
        places = torch.arange(len(kinds), device=response.device)
        first = torch.full_like(places, len(kinds)).scatter_reduce(0, kinds, places, "amin")
        terms[n - 1 :] = torch.where(places > first[kinds], -float(coef), 0.0).double()
    return terms


def _last(tokens: TokenTerms, prompt: Tensor, response: Tensor) -> Tensor:
    return tokens(prompt, response)[-1]


def _newest(newest: TokenTerms, given: Responses) -> Tensor:
    pairs = zip(given.prompts, given.responses, strict=True)
    return torch.stack([newest(prompt, response).cpu() for prompt, response in pairs])


def _rollout(term: str, tokens: TokenTerms, rollout: Rollout) -> Rollout:
    pairs = zip(rollout.prompts(), rollout.responses(), strict=True)
    paid = torch.zeros_like(rollout.rewards)
    paid[rollout.is_action] = torch.cat([tokens(*pair) for pair in pairs]).to(paid)
    return rollout.with_term(term, paid)
