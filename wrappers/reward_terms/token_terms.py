"""Reward terms that are a function of the text so far.

No environment is in here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.reward_terms.reward_term import Responses, RewardTerm

TokenTerms = Callable[[Tensor, Tensor], Tensor]


def token_term(name: str, tokens: TokenTerms, last_token: TokenTerms | None = None) -> RewardTerm:
    """Return a reward term that follows from the text so far.

    Args:
        name: its key in ``reward_terms``.
        tokens: ``f(prompt [P], response [T]) -> [T]``, the term at each token; no entry may
            depend on later tokens, since a step does not know them.
        last_token: ``f(prompt, response) -> scalar``, the term at the last token, where that
            costs less than computing all of them.
    """
    return RewardTerm(
        name=name,
        last_step=partial(_last_step, last_token or partial(_last, tokens)),
        rollout=partial(_rollout, name, tokens),
    )


def _last(tokens: TokenTerms, prompt: Tensor, response: Tensor) -> Tensor:
    return tokens(prompt, response)[-1]


def _last_step(last_token: TokenTerms, given: Responses) -> Tensor:
    pairs = zip(given.prompts, given.responses, strict=True)
    return torch.stack([last_token(prompt, response).cpu() for prompt, response in pairs])


def _rollout(name: str, tokens: TokenTerms, rollout: Rollout) -> Rollout:
    pairs = zip(rollout.prompts(), rollout.responses(), strict=True)
    term = torch.zeros_like(rollout.rewards)
    term[rollout.is_action] = torch.cat([tokens(*pair) for pair in pairs]).to(term)
    return rollout.with_term(name, term)
