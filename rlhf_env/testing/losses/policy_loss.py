"""Checks of policy losses: masks, padding, splits, ratios and clipping."""

from __future__ import annotations

import math

import torch

from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.losses.policy_batch import PolicyBatch, loss_and_slope, one_token, ragged
from rlhf_env.testing.losses.subject import TrainerLoss, far, plain, same

CHECKS = CheckList("policy_loss")
# (length, -advantage) of two responses at ratio 1, and what each way of averaging makes of them.
_LENGTHS = {"token_mean": 3.4, "episode_mean": 2.5, "constant": 1.7, "sum_per_episode": 17.0}


@CHECKS.add("DeepSpeedExamples#672; CosyVoice#1449")
def padding_has_no_gradient(loss: TrainerLoss) -> str:
    """A place without a token gets no gradient."""
    batch = ragged()
    _, slope = loss_and_slope(loss, batch)
    leaked = slope[~batch.mask].abs().max()
    expect(leaked == 0, f"a slope of {leaked:.3g} at padding")
    return "slope 0 at padding"


@CHECKS.add("eric-mitchell/direct-preference-optimization#4")
def what_fills_the_padding_does_not_matter(loss: TrainerLoss) -> None:
    """Other finite numbers in the padding change neither the loss nor its gradient."""
    usual, slope = loss_and_slope(loss, ragged())
    other, moved = loss_and_slope(loss, ragged().behind(7.0))
    mask = ragged().mask
    same(other, usual, "the loss with other numbers in the padding")
    same(moved[mask], slope[mask], "its slope")


@CHECKS.add("NVIDIA-NeMo/Megatron-Bridge#3117")
def the_padding_may_hold_nan(loss: TrainerLoss) -> None:
    """Numbers that are not finite in the padding reach neither the loss nor its gradient."""
    mask = ragged().mask
    usual, slope = loss_and_slope(loss, ragged())
    for value in (math.nan, math.inf):
        other, moved = loss_and_slope(loss, ragged().behind(value))
        same(other, usual, f"the loss with {value} in the padding")
        same(moved[mask], slope[mask], "its slope")


@CHECKS.add("huggingface/trl#2854; allenai/open-instruct#535")
def more_padding_changes_nothing(loss: TrainerLoss) -> None:
    """Three more columns of padding leave the loss as it is."""
    batch = ragged()
    width = (batch.mask.shape[0], 3)
    wider = PolicyBatch(*(torch.cat([part, part.new_zeros(width)], dim=1) for part in batch.parts))
    usual, slope = loss_and_slope(loss, batch)
    other, moved = loss_and_slope(loss, wider)
    same(other, usual, "the loss with 3 more columns")
    same(moved[:, :-3], slope, "its slope")


@CHECKS.add("huggingface/trl#6800; huggingface/transformers#18388")
def the_side_of_the_padding_does_not_matter(loss: TrainerLoss) -> None:
    """Responses padded on the left have the loss of those padded on the right."""
    batch = ragged()
    order = torch.argsort(batch.mask.long(), dim=1, stable=True)
    left = PolicyBatch(*(part.gather(1, order) for part in batch.parts))
    usual, _ = loss_and_slope(loss, batch)
    other, _ = loss_and_slope(loss, left)
    same(other, usual, "the loss of rows padded on the left")


@CHECKS.add("huggingface/trl#3231")
def the_order_of_rows_does_not_matter(loss: TrainerLoss) -> None:
    """Shuffled rows have the same loss, and each keeps its gradient."""
    order = [2, 0, 3, 1]
    usual, slope = loss_and_slope(loss, ragged())
    other, moved = loss_and_slope(loss, ragged().rows(order))
    same(other, usual, "the loss of shuffled rows")
    same(moved, slope[torch.tensor(order)], "its slope")


@CHECKS.add("huggingface/trl#5619, #6024; allenai/open-instruct#1161; modelscope/ms-swift#10117")
def micro_batches_add_up(loss: TrainerLoss) -> str:
    """The gradient of two micro-batches is that of the whole batch.

    Micro-batches of equally many rows are averaged, or added where the function is told the totals
    of the whole batch.
    """
    batch = ragged()
    parts, weight = [[0, 1], [2, 3]], 1.0 if loss.totals else 0.5
    _, whole = loss_and_slope(loss, batch)
    slopes = [loss_and_slope(loss, batch.rows(rows), batch)[1] for rows in parts]
    gap = (weight * torch.cat(slopes) - whole).abs().max() / whole.abs().max()
    expect(gap < 1e-5, f"the split gradient is off by up to {100 * gap:.1f} % of the largest slope")
    return f"equal within {100 * gap:.1g} %"


@CHECKS.add("arXiv:1707.06347, eq. 6; huggingface/trl#4159")
def at_ratio_one_it_is_the_policy_gradient(loss: TrainerLoss) -> None:
    """At the policy that acted a token's slope is -advantage times a positive weight.

    The tokens of one response share it.
    """
    batch = ragged(log_ratio=0.0)
    _, slope = loss_and_slope(loss, batch)
    # Whether the last token is learned at all is a claim of its own.
    inner = batch.mask & (batch.mask.flip(1).cumsum(1).flip(1) > 1)
    weight = (-slope / batch.advantages)[inner]
    expect((weight > 0).all(), f"weights {plain(weight)}")
    for row in range(len(inner)):
        shared = (-slope / batch.advantages)[row, inner[row]]
        spread = float(shared.max() - shared.min()) if len(shared) else 0.0
        expect(spread < 1e-9, f"weights {plain(shared)} within a response")


@CHECKS.add("arXiv:1707.06347; huggingface/trl#3025")
def the_ratio_weighs_the_gradient(loss: TrainerLoss) -> None:
    """Inside the clip the slope is that at ratio 1 times pi/pi_old."""
    _, at_one = loss_and_slope(loss, one_token(0.0, 1.0))
    _, moved = loss_and_slope(loss, one_token(math.log(1.1), 1.0))
    same(moved / at_one, [[1.1]], "slope at ratio 1.1 over slope at ratio 1")


# ratio, advantage, -> loss and slope in log pi, for a clip of 0.2 (arXiv:1707.06347, eq. 7).
_POSITIVE = [(1.5, 1.0, -1.2, 0.0), (0.5, 1.0, -0.5, -0.5)]
_NEGATIVE = [(1.5, -1.0, 1.5, 1.5), (0.5, -1.0, 0.8, 0.0)]


def _check_clip(loss: TrainerLoss, cases: list[tuple[float, float, float, float]]) -> None:
    if loss.clip != 0.2:
        raise NotApplicable("for a symmetric clip of 0.2 only")
    unit, _ = loss_and_slope(loss, one_token(0.0, -1.0))
    for ratio, advantage, value, due in cases:
        found, slope = loss_and_slope(loss, one_token(math.log(ratio), advantage))
        where = f"at ratio {ratio}, advantage {advantage:g}"
        same(found / unit, value, f"the loss {where}")
        same(slope[0, 0] / unit, due, f"the slope {where}")


@CHECKS.add("arXiv:1707.06347, eq. 7")
def good_actions_are_clipped_above_only(loss: TrainerLoss) -> None:
    """With a positive advantage the clip acts above 1.2 and nowhere else."""
    _check_clip(loss, _POSITIVE)


@CHECKS.add("arXiv:1707.06347, eq. 7; arXiv:1912.09729")
def bad_actions_are_clipped_below_only(loss: TrainerLoss) -> None:
    """With a negative advantage the clip acts below 0.8 and not between 0.8 and 1.5."""
    _check_clip(loss, _NEGATIVE)


@CHECKS.add("huggingface/trl#4772; unsloth-zoo#832")
def an_absurd_ratio_stays_finite(loss: TrainerLoss) -> None:
    """A log-ratio of +-200 in float32 gives a finite loss and a finite gradient."""
    for log_ratio in (200.0, -200.0):
        for advantage in (1.0, -1.0):
            value, slope = loss_and_slope(loss, one_token(log_ratio, advantage, torch.float32))
            is_finite = value.isfinite() and slope.isfinite().all()
            seen = f"loss {float(value):g}, slope {float(slope[0, 0]):g}"
            expect(is_finite, f"{seen} at log-ratio {log_ratio:g}, advantage {advantage:g}")


@CHECKS.add("huggingface/trl#1623, #3091; arXiv:2403.17031")
def the_last_token_is_learned(loss: TrainerLoss) -> None:
    """The last token of a response, its EOS, has a gradient."""
    batch = ragged(log_ratio=0.0)
    _, slope = loss_and_slope(loss, batch)
    last = slope.gather(1, batch.mask.sum(1, keepdim=True) - 1)
    expect((last != 0).all(), f"slopes {plain(last)} at the last tokens")


@CHECKS.add("modelscope/ms-swift#9925")
def a_row_without_tokens_does_no_harm(loss: TrainerLoss) -> None:
    """A response of which nothing is learned leaves loss and gradient finite."""
    batch = ragged()
    batch.mask[1] = False
    value, slope = loss_and_slope(loss, batch)
    bad = int((~slope.isfinite()).sum())
    seen = f"loss {float(value):g}, {bad} of {slope.numel()} slopes not finite"
    expect(value.isfinite() and bad == 0, seen)


@CHECKS.add("verl-project/verl#782")
def a_batch_without_tokens_stays_finite(loss: TrainerLoss) -> None:
    """Where all responses are masked, as unfinished ones may be, loss and gradient are finite."""
    batch = ragged()
    batch.mask[:] = False
    value, slope = loss_and_slope(loss, batch)
    bad = int((~slope.isfinite()).sum())
    seen = f"loss {float(value):g}, {bad} of {slope.numel()} slopes not finite"
    expect(value.isfinite() and bad == 0, seen)


@CHECKS.add("arXiv:2402.03300; huggingface/trl#6365")
def without_advantage_nothing_moves(loss: TrainerLoss) -> None:
    """Advantages of 0 give a gradient of 0."""
    batch = ragged()
    batch.advantages[:] = 0.0
    _, slope = loss_and_slope(loss, batch)
    expect((slope[batch.mask] == 0).all(), f"slope {plain(slope[batch.mask])}")


@CHECKS.add("arXiv:2503.20783; arXiv:2503.14476; huggingface/trl#3138")
def lengths_weigh_as_it_says(loss: TrainerLoss) -> str:
    """Short and long responses are averaged as the loss says of itself."""
    mask = torch.arange(10) < torch.tensor([[2], [8]])
    zeros = torch.zeros(2, 10, dtype=torch.float64)
    advantages = zeros - torch.tensor([[1.0], [4.0]])
    value, _ = loss_and_slope(loss, PolicyBatch(zeros, zeros, advantages, mask))
    found = [name for name, due in _LENGTHS.items() if far(value, due) is None]
    name = found[0] if found else f"none of {', '.join(_LENGTHS)}"
    seen = f"{name}: {float(value):.4f} of responses of 2 and 8 tokens with losses 1 and 4"
    expect(loss.form is None or name == loss.form, f"{seen}, and it says {loss.form}")
    return seen


@CHECKS.add("verl-project/verl#3683; agent-lightning#282")
def each_token_has_its_own_advantage(loss: TrainerLoss) -> None:
    """Where advantages differ between the tokens of a response, each reaches its own token."""
    if not loss.per_token:
        raise NotApplicable("its advantages are of whole responses")
    batch = ragged(log_ratio=0.0)
    _, usual = loss_and_slope(loss, batch)
    own = torch.tensor([-2.5, -1.5, -0.5, 0.5], dtype=torch.float64)
    batch.advantages[0, :4] = own
    _, slope = loss_and_slope(loss, batch)
    same(slope[0, :4] / usual[0, :4], own, "slopes, where all advantages of the response were 1")


@CHECKS.add("recursionpharma/gflownet#61")
def arguments_stay_as_they_are(loss: TrainerLoss) -> None:
    """The function does not write into what it is given."""
    batch, kept = ragged(), ragged()
    totals = {"total_tokens": batch.mask.sum(), "total_rows": 4} if loss.totals else {}
    loss(
        logprobs=batch.logprobs,
        old_logprobs=batch.old_logprobs,
        advantages=batch.advantages,
        mask=batch.mask,
        **totals,
    )
    for name, now, before in zip(
        ("logprobs", "old_logprobs", "advantages", "mask"), batch.parts, kept.parts, strict=True
    ):
        expect(torch.equal(now, before), f"{name} was changed")
