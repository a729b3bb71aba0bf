"""Reward terms that are a function of the text so far.

No environment is in here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.reward_terms.reward_term import Responses, RewardTerm

TokenTerms = Callable[[Tensor, Tensor], Tensor]


def token_term(
    name: str,
    tokens: TokenTerms,
    last_token: TokenTerms | None = None,
    *,
    own_only: bool = False,
) -> RewardTerm:
    """Return a reward term that follows from the text so far.

    Args:
        name: its key in ``reward_terms``.
        tokens: ``f(prompt [P], response [T]) -> [T]``, the term at each token; no entry may
            depend on later tokens, since a step does not know them.
        last_token: ``f(prompt, response) -> scalar``, the term at the last token, where that
            costs less than computing all of them.
        own_only: in a conversation, show these functions the agent's tokens only; otherwise they
            see all that was said up to the last action, and count at the agent's tokens.

    Raises:
        TypeError: if ``tokens`` cannot be called.
        ValueError: if the name is one of the environment's own terms; and where the term is paid,
            if a function answers with anything but finite numbers, one for each token.
    """
    if not isinstance(name, str) or name in ("", "score", "kl"):
        raise ValueError(
            f"name must be that of a new reward term, got {name!r}; the environment has "
            'the terms "score" and "kl" itself'
        )
    if not callable(tokens):
        raise TypeError(
            f"tokens must be a function f(prompt, response) -> [T], got {type(tokens).__name__}"
        )
    checked = partial(_checked, name, tokens)
    return RewardTerm(
        name=name,
        last_step=partial(_last_step, last_token or partial(_last, checked), own_only),
        rollout=partial(_rollout, name, checked, own_only),
    )


def _checked(name: str, tokens: TokenTerms, prompt: Tensor, response: Tensor) -> Tensor:
    """Return the term of each token, [T] float64."""
    answer: Any = tokens(prompt, response)
    count = len(response)
    expected = f"reward term {name!r} must be {count} finite numbers for {count} tokens"
    try:
        terms = torch.as_tensor(answer, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}, got {type(answer).__name__}") from error
    if terms.shape != response.shape or not terms.isfinite().all():
        values = terms.flatten().tolist()[:8]
        raise ValueError(f"{expected}, got {values} of shape {list(terms.shape)}")
    return terms


def _last(tokens: TokenTerms, prompt: Tensor, response: Tensor) -> Tensor:
    return tokens(prompt, response)[-1]


def _last_step(last_token: TokenTerms, own_only: bool, given: Responses) -> Tensor:
    texts = zip(given.prompts, given.responses, given.is_action, strict=True)
    return torch.stack(
        [last_token(prompt, _shown(ids, own, own_only)).cpu() for prompt, ids, own in texts]
    )


def _rollout(name: str, tokens: TokenTerms, own_only: bool, rollout: Rollout) -> Rollout:
    found = []
    for prompt, ids, own in zip(
        rollout.prompts(), rollout.responses(), rollout.responses_are_actions(), strict=True
    ):
        terms = tokens(prompt, _shown(ids, own, own_only))
        found.append(terms if own_only else terms[own.to(terms.device)])
    term = torch.zeros_like(rollout.rewards)
    term[rollout.is_action] = torch.cat(found).to(term)
    return rollout.with_term(name, term)


def _shown(response: Tensor, is_action: Tensor, own_only: bool) -> Tensor:
    """Return the part of what was said that a function of the text sees."""
    if own_only:
        return response[is_action]
    return response[: int(is_action.nonzero()[-1]) + 1]
