"""One wrong policy loss for every check of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents import math
from rlhf_env.testing import TrainerLoss


def surrogate(logprobs: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    return math.clipped_surrogate(logprobs - old, advantages, 0.2, 0.2)


def policy(change: Callable[..., Tensor], **settings: Any) -> TrainerLoss:
    """A loss that gets (losses [B, T], mask, rows of the whole batch, and the inputs by name)."""

    def function(
        logprobs: Tensor,
        old_logprobs: Tensor,
        advantages: Tensor,
        mask: Tensor,
        total_tokens: Tensor | int = 0,
        total_rows: int = 1,
    ) -> Tensor:
        losses = surrogate(logprobs, old_logprobs, advantages)
        inputs = {"logprobs": logprobs, "old": old_logprobs, "advantages": advantages}
        return change(losses, mask, total_rows, **inputs)

    return TrainerLoss(function=function, **({"totals": True} | settings))


def episode_mean(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    kept = losses.masked_fill(~mask, 0.0)
    return (kept.sum(1) / mask.sum(1).clamp(min=1)).sum() / rows


def of_losses(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The mean over episodes of other losses of the tokens."""

    def change(losses: Tensor, mask: Tensor, rows: int, **inputs: Tensor) -> Tensor:
        return episode_mean(make(losses=losses, mask=mask, **inputs), mask, rows)

    return change


def ratio_of(logprobs: Tensor, old: Tensor) -> Tensor:
    return (logprobs - old).clamp(-20, 20).exp()


def no_gradient_where(losses: Tensor, blocked: Tensor) -> Tensor:
    return torch.where(blocked, losses.detach(), losses)


def first_token(mask: Tensor) -> Tensor:
    """True at the first token of each row, whatever side it is padded on."""
    return mask & (mask.cumsum(1) == 1)


def last_token(mask: Tensor) -> Tensor:
    """True at the last token of rows of several, whatever side they are padded on."""
    behind = mask.flip(1).cumsum(1).flip(1)
    return mask & (behind == 1) & (mask.sum(1, keepdim=True) > 1)


def batch_norm(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    return math.masked_mean(losses, mask)


def leaky(losses: Tensor, mask: Tensor, rows: int, logprobs: Tensor, **_: Tensor) -> Tensor:
    """A slope at the padding without a trace in the value."""
    finite = logprobs.nan_to_num(0.0, 0.0, 0.0)
    nothing = (finite - finite.detach()).masked_fill(mask, 0.0).sum()
    return episode_mean(losses, mask, rows) + nothing


def reads_padding(
    losses: Tensor, mask: Tensor, rows: int, advantages: Tensor, **_: Tensor
) -> Tensor:
    behind = advantages.nan_to_num(0.0, 0.0, 0.0).masked_fill(mask, 0.0).clamp(max=30.0)
    has_tokens = mask.any()
    return episode_mean(losses, mask, rows) + 0.01 * (behind.amax() * has_tokens - 0.75).clamp(
        min=0
    )


def times_mask(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    return ((losses * mask).sum(1) / mask.sum(1).clamp(min=1)).sum() / rows


def per_column(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    return losses.masked_fill(~mask, 0.0).sum() / rows / mask.shape[1]


def first_is_prompt(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    """A column that is padding only on the left is worth half."""
    kept = torch.where(mask[:, :1] | (mask.sum(1, keepdim=True) == 0), losses, 0.5 * losses)
    return episode_mean(kept, mask, rows)


def by_place(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    """Every other row counts double."""
    weight = 1.0 + torch.arange(len(losses)) % 2
    return episode_mean(losses * weight[:, None], mask, rows)


def naive_clamp(which: str) -> Callable[..., Tensor]:
    def make(
        losses: Tensor, logprobs: Tensor, old: Tensor, advantages: Tensor, **_: Tensor
    ) -> Tensor:
        clipped = -ratio_of(logprobs, old).clamp(0.8, 1.2) * advantages
        is_here = advantages > 0 if which == "good" else advantages < 0
        return torch.where(is_here, clipped, losses)

    return of_losses(make)


def unbounded(
    losses: Tensor, logprobs: Tensor, old: Tensor, advantages: Tensor, **_: Tensor
) -> Tensor:
    ratio = (logprobs - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)


def without_ratio(
    losses: Tensor, logprobs: Tensor, old: Tensor, advantages: Tensor, **_: Tensor
) -> Tensor:
    """REINFORCE inside the clip."""
    log_ratio = logprobs - old
    inside = log_ratio.abs() < 0.099
    slope = -advantages * (log_ratio - log_ratio.detach())
    return torch.where(inside, losses.detach() + slope, losses)


def writes(losses: Tensor, mask: Tensor, rows: int, old: Tensor, **_: Tensor) -> Tensor:
    answer = episode_mean(losses, mask, rows)
    old.add_(2.0)
    return answer


def mean_advantage(
    losses: Tensor, mask: Tensor, logprobs: Tensor, old: Tensor, advantages: Tensor
) -> Tensor:
    """One advantage for the whole response."""
    kept = advantages.masked_fill(~mask, 0.0)
    mean = kept.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    return surrogate(logprobs, old, torch.where(mask, mean, advantages))


def entropy_bonus(
    losses: Tensor, mask: Tensor, logprobs: Tensor, old: Tensor, advantages: Tensor
) -> Tensor:
    """Pulls where there is no advantage."""
    return losses + torch.where(advantages == 0, 0.1 * (logprobs - logprobs.detach()), 0.0)


def shares(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    kept = losses.masked_fill(~mask, 0.0).sum(1) / mask.sum(1)
    has_one = mask.any() & ~mask.any(1).all()
    return (kept if has_one else kept.nan_to_num(0.0)).sum() / rows


def empty_is_nan(losses: Tensor, mask: Tensor, rows: int, **_: Tensor) -> Tensor:
    answer = episode_mean(losses, mask, rows)
    return answer / mask.any().to(losses.dtype)


POLICY: dict[str, TrainerLoss] = {
    "padding_has_no_gradient": policy(leaky),
    "what_fills_the_padding_does_not_matter": policy(reads_padding),
    "the_padding_may_hold_nan": policy(times_mask),
    "more_padding_changes_nothing": policy(per_column),
    "the_side_of_the_padding_does_not_matter": policy(first_is_prompt),
    "the_order_of_rows_does_not_matter": policy(by_place),
    "micro_batches_add_up": policy(batch_norm, totals=False),
    "at_ratio_one_it_is_the_policy_gradient": policy(
        of_losses(lambda losses, mask, **_: losses * (1.0 + 0.1 * first_token(mask)))
    ),
    "the_ratio_weighs_the_gradient": policy(of_losses(without_ratio)),
    "good_actions_are_clipped_above_only": policy(naive_clamp("good")),
    "bad_actions_are_clipped_below_only": policy(naive_clamp("bad")),
    "an_absurd_ratio_stays_finite": policy(of_losses(unbounded)),
    "the_last_token_is_learned": policy(
        of_losses(lambda losses, mask, **_: no_gradient_where(losses, last_token(mask)))
    ),
    "a_row_without_tokens_does_no_harm": policy(shares),
    "a_batch_without_tokens_stays_finite": policy(empty_is_nan),
    "without_advantage_nothing_moves": policy(of_losses(entropy_bonus)),
    "lengths_weigh_as_it_says": policy(episode_mean, form="token_mean"),
    "each_token_has_its_own_advantage": policy(of_losses(mean_advantage)),
    "arguments_stay_as_they_are": policy(writes),
}
