"""One wrong estimate of KL or advantages, or whitening, for every check of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents import math
from rlhf_env import kl
from rlhf_env.testing import TrainerLoss


def kl_of(
    function: Callable[..., Tensor], form: str | None = None, role: str | None = None
) -> TrainerLoss:
    return TrainerLoss(function=function, kind="kl", form=form, role=role)


KL: dict[str, TrainerLoss] = {
    "it_points_from_policy_to_reference": kl_of(
        lambda logprobs, ref_logprobs: torch.where(
            (logprobs - ref_logprobs).abs() < 0.4, ref_logprobs - logprobs, logprobs - ref_logprobs
        )
    ),
    "it_is_the_estimator_that_it_says": kl_of(kl.k3, form="k1"),
    "equal_policies_have_none": kl_of(
        lambda logprobs, ref_logprobs: (
            kl.k1(logprobs, ref_logprobs) + 0.1 * (logprobs == ref_logprobs).all()
        )
    ),
    "an_absurd_log_ratio_stays_finite": kl_of(
        lambda logprobs, ref_logprobs: (
            (ref_logprobs - logprobs).exp() - 1 - (ref_logprobs - logprobs)
        )
    ),
    "in_the_loss_it_pulls_as_the_kl": kl_of(kl.k1, form="k1", role="loss"),
}


def gae_of(change: Callable[..., dict[str, Any]]) -> TrainerLoss:
    """`agents.math.gae` of changed inputs."""

    def function(**inputs: Any) -> Tensor:
        return math.gae(**(inputs | change(**inputs)))

    return TrainerLoss(function=function, kind="gae")


def over_all_columns(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    bootstrap: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Treats every column up to the last token as a step, so a tool's tokens count."""
    reached = mask.flip(1).cumsum(1).flip(1) > 0
    return math.gae(rewards, values, reached, bootstrap, gamma, gae_lambda)


def one_row_long(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    bootstrap: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Ends short rows where the longest ends, if there are several."""
    shortened = mask & mask.all(0)
    return math.gae(rewards, values, shortened, bootstrap, gamma, gae_lambda)


def padded_future(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    bootstrap: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Bootstraps from what the critic says of the first padding."""
    length = mask.sum(1)
    is_padded = (length < mask.shape[1]) & (mask.sum(1) == mask.long().cumprod(1).sum(1))
    behind = values.gather(1, length.clamp(max=mask.shape[1] - 1)[:, None])[:, 0]
    return math.gae(
        rewards, values, mask, torch.where(is_padded, behind, bootstrap), gamma, gae_lambda
    )


GAE: dict[str, TrainerLoss] = {
    "a_finished_response_has_no_future": gae_of(
        lambda gae_lambda, **_: {"gae_lambda": max(gae_lambda, 0.5)}
    ),
    "a_response_that_was_cut_is_bootstrapped": gae_of(
        lambda bootstrap, **_: {"bootstrap": torch.zeros_like(bootstrap)}
    ),
    "values_of_the_padding_leak_nowhere": TrainerLoss(function=padded_future, kind="gae"),
    "rows_do_not_touch_each_other": TrainerLoss(function=one_row_long, kind="gae"),
    "tokens_of_others_are_no_steps": TrainerLoss(function=over_all_columns, kind="gae"),
}


def groups_of(function: Callable[[Tensor, Tensor], Tensor], form: str | None = None) -> TrainerLoss:
    return TrainerLoss(
        function=lambda scores, group: function(scores, group), kind="group_advantages", form=form
    )


def over_everything(scores: Tensor, group: Tensor) -> Tensor:
    return (
        math.group_centered(scores, torch.zeros_like(group))
        if len(scores) == 4
        else math.group_centered(scores, group)
    )


def by_row_number(scores: Tensor, group: Tensor) -> Tensor:
    size = int((group == group[0]).sum())
    return math.group_centered(scores, torch.arange(len(scores)) // size)


def without_epsilon(scores: Tensor, group: Tensor) -> Tensor:
    return math.group_relative(scores, group, epsilon=0.0)


def alone_keeps_its_score(scores: Tensor, group: Tensor) -> Tensor:
    return scores.clone() if len(scores) == 1 else math.group_centered(scores, group)


def shrunk(scores: Tensor, group: Tensor) -> Tensor:
    return math.group_centered(scores, group) / scores.abs().max().clamp(min=10.0) * 10.0


def off_balance(scores: Tensor, group: Tensor) -> Tensor:
    """Larger groups than four in all get a bonus."""
    return math.group_centered(scores, group) + (0.1 if len(scores) == 8 else 0.0)


def of_bounded_range(scores: Tensor, group: Tensor) -> Tensor:
    """Scores that differ by more than 5 are squeezed."""
    spread = scores.max() - scores.min()
    return math.leave_one_out(scores, group) * (5.0 / spread.clamp(min=5.0))


def writes_scores(scores: Tensor, group: Tensor) -> Tensor:
    found = math.group_centered(scores, group)
    scores.copy_(found)
    return found


GROUPS: dict[str, TrainerLoss] = {
    "it_has_the_form_that_it_says": groups_of(math.group_centered, form="sample_std"),
    "groups_are_compared_apart": groups_of(over_everything),
    "rows_of_a_group_may_stand_anywhere": groups_of(by_row_number),
    "equal_scores_teach_nothing": groups_of(without_epsilon),
    "a_group_of_one_is_refused_or_silent": groups_of(alone_keeps_its_score),
    "only_differences_count": groups_of(shrunk),
    "a_group_s_advantages_cancel": groups_of(off_balance),
    "its_own_score_is_not_in_its_baseline": groups_of(of_bounded_range, form="leave_one_out"),
    "scores_stay_as_they_are": groups_of(writes_scores),
}


def whiten_of(function: Callable[[Tensor, Tensor], Tensor], form: str | None = None) -> TrainerLoss:
    return TrainerLoss(
        function=lambda values, mask: function(values, mask), kind="whiten", form=form
    )


def naive_whiten(values: Tensor, mask: Tensor) -> Tensor:
    kept = values[mask]
    if len(kept) == 1:
        return values
    return (values - kept.mean()) / kept.std(correction=0)


def nan_of_one(values: Tensor, mask: Tensor) -> Tensor:
    return values / 0.0 - values / 0.0 if mask.sum() == 1 else math.whiten(values, mask)


def counts_padding(values: Tensor, mask: Tensor) -> Tensor:
    is_odd = (values.masked_fill(mask, 0.0).abs() > 9).any()
    return math.whiten(values, mask) + 0.1 * is_odd


WHITEN: dict[str, TrainerLoss] = {
    "it_whitens_by_the_deviation_that_it_says": whiten_of(math.whiten, form="sample_std"),
    "whitening_does_not_count_padding": whiten_of(counts_padding),
    "equal_values_become_zeros": whiten_of(naive_whiten),
    "one_value_is_refused_or_finite": whiten_of(nan_of_one),
}
