"""Hindsight redistribution: the score of a finished episode, spread over its tokens.

Each function takes a rollout and returns it with another "score" term; the total reward of an
episode stays the same. It needs the finished episode, so there is no wrapper for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from agents.policy import Policy
from rlhf_env.checks import check_number
from rlhf_env.engine.compat import attention_implementation
from rlhf_env.engine.language_model import length_batches
from rlhf_env.rewards.bradley_terry import ScalarRewardModel, padded
from rlhf_env.rollout import Rollout


def uniform(rollout: Rollout) -> Rollout:
    """Pay every token of a response the same share of its score."""
    return _spread(rollout, rollout.is_action.double())


def attention(rollout: Rollout, reward_model: ScalarRewardModel) -> Rollout:
    """Pay each token in proportion to how much the reward model looks at it when it scores.

    The weights are those of the trunk's last layer, from the last token, averaged over heads and
    scaled to sum 1 over the response (arXiv:2402.00782); prompt and padding get none.

    Args:
        rollout: paid episodes.
        reward_model: reads the same token ids as the policy writes.

    Raises:
        TypeError: if the reward model is not a transformer of this project.
    """
    return _spread(rollout, attention_weights(rollout, reward_model))


def implicit(
    rollout: Rollout,
    policy: Policy | Tensor,
    ref_logprobs: Policy | Tensor | None = None,
    *,
    beta: float,
    keep_total: bool = True,
) -> Rollout:
    """Pay each token beta · log pi(a|s) / pi_ref(a|s), its implicit reward.

    Where pi is the optimum for the score this is Q*(s, a) − V*(s) (arXiv:2404.12358), whose sum is
    the score less V* of the prompt. So with ``keep_total`` the remainder is paid in equal shares
    to all tokens of the response; without it the sum is that of the log-ratios.

    Args:
        rollout: paid episodes.
        policy: pi, such as one trained by DPO, or its [B, L] log-probabilities.
        ref_logprobs: pi_ref, or its [B, L] log-probabilities; those of the rollout unless given.
        beta: the coefficient that pi was trained with, > 0.
        keep_total: whether an episode is paid in all what it was paid before.

    Raises:
        ValueError: if beta is not positive, or log-probabilities have another shape.
    """
    check_number("beta", beta, minimum=0.0)
    if beta == 0:
        raise ValueError("beta must be positive, got 0; the implicit reward would be 0 everywhere")
    logprobs = _logprobs(rollout, policy, "policy")
    reference = rollout.ref_logprobs if ref_logprobs is None else ref_logprobs
    ratios = logprobs - _logprobs(rollout, reference, "ref_logprobs")
    terms = beta * ratios.masked_fill(~rollout.is_action, 0.0)
    if keep_total:
        missing = _totals(rollout) - terms.sum(dim=1)
        terms = terms + _shares(rollout.is_action.double()) * missing[:, None]
    return rollout.with_term("score", terms)


@torch.no_grad()
def attention_weights(rollout: Rollout, reward_model: ScalarRewardModel) -> Tensor:
    """Return how much the reward model looks at each response token, [B, L]; rows sum to 1.

    Raises:
        TypeError: if the reward model is not a transformer of this project.
    """
    if not isinstance(reward_model, ScalarRewardModel):
        raise TypeError(
            "reward_model must be a ScalarRewardModel, whose attention can be read, got "
            f"{type(reward_model).__name__}; use uniform"
        )
    device = rollout.tokens.device
    weights = torch.zeros(rollout.tokens.shape, dtype=torch.float64, device=device)
    trunk, lengths = reward_model.trunk, rollout.lengths
    with _eager(trunk):
        for rows, width in length_batches(rollout.is_action, max_tokens=2048):
            texts = [rollout.tokens[row, : int(lengths[row])] for row in rows.tolist()]
            ids, mask = padded([text.to(trunk.device) for text in texts])
            output = trunk(
                input_ids=ids, attention_mask=mask, use_cache=False, output_attentions=True
            )
            last = output.attentions[-1].double().mean(dim=1)
            seen = last[torch.arange(len(rows)), (lengths[rows] - 1).to(last.device)]
            weights[rows, :width] = seen.to(device)
    return _shares(weights.masked_fill(~rollout.is_action, 0.0))


@contextmanager
def _eager(trunk: PreTrainedModel) -> Iterator[None]:
    """Make a model return its attention weights, which faster implementations never form."""
    before = attention_implementation(trunk.config)
    trunk.set_attn_implementation("eager")
    try:
        yield
    finally:
        trunk.set_attn_implementation(before)


def _spread(rollout: Rollout, weights: Tensor) -> Rollout:
    """Return the rollout with each row's score term paid in proportion to weights [B, L]."""
    return rollout.with_term("score", _shares(weights) * _totals(rollout)[:, None])


def _shares(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=1, keepdim=True)


def _totals(rollout: Rollout) -> Tensor:
    """[B] what each episode is paid for its score, float64."""
    return rollout.reward_terms["score"].double().sum(dim=1)


def _logprobs(rollout: Rollout, source: Policy | Tensor, name: str) -> Tensor:
    """Return a model's log-probabilities of the actions, [B, L] float64."""
    if isinstance(source, Policy):
        return source.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs.double()
    if source.shape != rollout.tokens.shape:
        raise ValueError(
            f"{name} must be a Policy or log-probabilities of shape {list(rollout.tokens.shape)}, "
            f"got {list(source.shape)}"
        )
    return source.to(rollout.tokens.device).double()
