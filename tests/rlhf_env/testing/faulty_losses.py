"""One wrong function for every check of a trainer's functions, and the right ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agents import math
from rlhf_env import kl
from rlhf_env.testing import TrainerLoss
from tests.rlhf_env.testing.faulty_advantages import (
    GAE,
    GROUPS,
    KL,
    WHITEN,
    groups_of,
    kl_of,
    whiten_of,
)
from tests.rlhf_env.testing.faulty_policy_losses import POLICY, episode_mean, policy


def value_of(token_losses: Callable[..., Tensor], leaks: bool = False) -> TrainerLoss:
    def function(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
        found = token_losses(values, old_values, returns)
        kept = math.masked_mean(found, mask)
        return kept + (
            0.1 * found[~mask].sum() - 0.1 * found[~mask].sum().detach() if leaks else 0.0
        )

    return TrainerLoss(function=function, kind="value_loss")


def around_the_return(values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
    near = returns + (values - returns).clamp(-0.2, 0.2)
    return 0.5 * torch.minimum((values - returns).square(), (near - old_values).square())


def clipped(values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
    return math.clipped_value_loss(values, old_values, returns, 0.2)


def pushed_away(values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
    found = clipped(values, old_values, returns)
    return torch.where((values - old_values).abs() < 0.2, 2 * found.detach() - found, found)


VALUES: dict[str, TrainerLoss] = {
    "it_clips_around_the_old_value": value_of(
        lambda values, old_values, returns: math.squared_value_loss(values, returns)
    ),
    "near_the_old_value_it_pulls_to_the_return": value_of(pushed_away),
    "the_critic_learns_nothing_of_padding": value_of(clipped, leaks=True),
}


def gathered(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


def wide(logits: Tensor, tokens: Tensor) -> Tensor:
    """Keeps double precision where it is given."""
    kept = logits.float() if logits.dtype == torch.bfloat16 else logits
    return kept.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


def shifted(logits: Tensor, tokens: Tensor) -> Tensor:
    """Reads the token before, in rows of more than two."""
    return wide(logits, tokens.roll(1, dims=1) if tokens.shape[1] > 2 else tokens)


def in_16_bits(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


def naive_softmax(logits: Tensor, tokens: Tensor) -> Tensor:
    kept = logits.float() if logits.dtype == torch.bfloat16 else logits
    exps = kept.exp()
    return (exps / exps.sum(-1, keepdim=True)).log().gather(-1, tokens[..., None])[..., 0]


def doubled_slope(logits: Tensor, tokens: Tensor) -> Tensor:
    found = wide(logits, tokens)
    return 2 * found - found.detach()


def logprobs_of(function: Callable[[Tensor, Tensor], Tensor]) -> TrainerLoss:
    return TrainerLoss(
        function=lambda logits, tokens: function(logits, tokens), kind="token_logprobs"
    )


LOGPROBS: dict[str, TrainerLoss] = {
    "each_token_has_its_own_probability": logprobs_of(shifted),
    "the_softmax_of_16_bit_logits_is_taken_in_32": logprobs_of(in_16_bits),
    "large_logits_stay_finite": logprobs_of(naive_softmax),
    "its_gradient_is_one_hot_minus_the_probabilities": logprobs_of(doubled_slope),
}


def dpo(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
    return -logsigmoid(0.1 * (chosen - ref_chosen - rejected + ref_rejected))


def pair_of(function: Callable[..., Tensor], form: str | None = "dpo") -> TrainerLoss:
    return TrainerLoss(function=function, kind="pair_loss", form=form)


def overflowing(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> Tensor:
    return (
        (1 + (-0.1 * (chosen - ref_chosen - rejected + ref_rejected)).float().exp()).log().double()
    )


def with_prompt(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> Tensor:
    """Something of the level of both sides stays."""
    return dpo(chosen, rejected, ref_chosen, ref_rejected) + 0.01 * (
        -22 - chosen - rejected
    ).detach().clamp(0, 50)


def half_reference(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> Tensor:
    """Reads the chosen side's reference only, where the two are near each other."""
    is_near = (ref_rejected - ref_chosen).abs() > 2
    return torch.where(
        is_near,
        dpo(chosen, rejected, ref_chosen, ref_chosen - 0.5),
        dpo(chosen, rejected, ref_chosen, ref_rejected),
    )


def summed(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
    return dpo(chosen, rejected, ref_chosen, ref_rejected).sum()


def shifted_dpo(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> Tensor:
    """Right beside the reference, wrong at it."""
    is_there = (chosen == ref_chosen) & (rejected == ref_rejected)
    return dpo(chosen, rejected, ref_chosen, ref_rejected) + 0.05 * is_there


PAIRS: dict[str, TrainerLoss] = {
    "it_has_the_value_of_its_paper": pair_of(
        lambda **pair: dpo(**pair) + 0.02 * (pair["chosen"] != pair["ref_chosen"])
    ),
    "it_pulls_as_its_paper_says": pair_of(lambda **pair: 2 * dpo(**pair) - dpo(**pair).detach()),
    "at_the_reference_it_knows_nothing": pair_of(shifted_dpo),
    "a_pair_that_is_settled_stays_finite": pair_of(overflowing),
    "pairs_are_averaged": pair_of(summed),
    "what_both_sides_share_cancels": pair_of(with_prompt),
    "the_reference_is_read": pair_of(half_reference),
}

FAULTS = POLICY | KL | GAE | GROUPS | WHITEN | VALUES | LOGPROBS | PAIRS
RIGHT: dict[str, TrainerLoss] = {
    "episode mean": policy(episode_mean, form="episode_mean"),
    "k1": kl_of(kl.k1, form="k1"),
    "k2 in the loss": kl_of(kl.k2, form="k2", role="loss"),
    "k3": kl_of(kl.k3, form="k3"),
    "gae": TrainerLoss(function=math.gae, kind="gae"),
    "group_relative": groups_of(math.group_relative, form="sample_std"),
    "group_centered": groups_of(math.group_centered, form="centered"),
    "leave_one_out": groups_of(math.leave_one_out, form="leave_one_out"),
    "whiten": whiten_of(math.whiten, form="population_std"),
    "clipped_value_loss": value_of(clipped),
    "logprobs": logprobs_of(wide),
    "dpo": pair_of(dpo),
}
