"""Checks of losses of pairs: DPO and its relatives, on sums of log-probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.losses.subject import TrainerLoss, plain, same

CHECKS = CheckList("pair_loss")
# log pi of chosen and rejected -10 and -12, of the reference -11 and -11.5; beta (or tau) 0.1:
# the loss and its slopes in log pi of the chosen and of the rejected.
LITERALS = {
    "dpo": (0.620957, -0.046257, 0.046257),
    "cdpo": (0.635957, -0.036257, 0.036257),
    "robust": (0.602207, -0.058757, 0.058757),
    "ipo": (12.25, -7.0, 7.0),
    "hinge": (0.85, -0.1, 0.1),
    "exo": (2.505517, -0.167972, 0.167972),
    "nca": (1.350825, -0.021253, 0.024375),
    "bco": (1.312856, -0.047502, 0.048750),
    "sppo": (36.25, -8.0, 9.0),
    "apo_zero": (0.962523, -0.024938, 0.024984),
    "apo_down": (0.987549, 0.000078, 0.024860),
    "cpo": (0.598139, -0.045017, 0.045017),
}
_PAIR = (-10.0, -12.0, -11.0, -11.5)


def _loss(
    loss: TrainerLoss, pairs: list[tuple[float, ...]]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the mean loss and its slopes in chosen, rejected and the reference, [P] each."""
    columns = torch.tensor(pairs, dtype=torch.float64).T.contiguous()
    chosen, rejected, ref_chosen, ref_rejected = (
        column.clone().requires_grad_(True) for column in columns
    )
    value = loss(
        chosen=chosen, rejected=rejected, ref_chosen=ref_chosen, ref_rejected=ref_rejected
    ).mean()
    leaves = (chosen, rejected, ref_chosen, ref_rejected)
    slopes = torch.autograd.grad(value, leaves, allow_unused=True)
    first, second, third, fourth = (
        torch.zeros_like(chosen) if slope is None else slope for slope in slopes
    )
    return value.detach(), first, second, third.abs() + fourth.abs()


@CHECKS.add("arXiv:2305.18290 and the papers of its relatives; huggingface/trl#1265")
def it_has_the_value_of_its_paper(loss: TrainerLoss) -> str:
    """One pair gives the loss that its paper's formula gives."""
    form = loss.form or "dpo"
    value, _, _, _ = _loss(loss, [_PAIR])
    same(value, LITERALS[form][0], f"the loss {form} of one pair", atol=2e-5)
    return f"{form}: {float(value):.6f}"


@CHECKS.add("Liger-Kernel#378")
def it_pulls_as_its_paper_says(loss: TrainerLoss) -> None:
    """Its slopes in both log-probabilities are those of its paper's formula."""
    _, better, worse, _ = _loss(loss, [_PAIR])
    _, due, other = LITERALS[loss.form or "dpo"]
    same(better, [due], "the slope in the chosen", atol=2e-5)
    same(worse, [other], "the slope in the rejected", atol=2e-5)


@CHECKS.add("huggingface/trl#744")
def at_the_reference_it_knows_nothing(loss: TrainerLoss) -> None:
    """Where policy and reference agree DPO's loss is log 2."""
    loss.only("dpo", "cdpo", None)
    value, _, _, _ = _loss(loss, [(-10.0, -12.0, -10.0, -12.0)])
    same(value, math.log(2), "the loss at the reference")


@CHECKS.add("huggingface/trl#4763; ColossalAI#6407; axolotl#3910")
def a_pair_that_is_settled_stays_finite(loss: TrainerLoss) -> None:
    """Log-ratios of +-4,000 give a finite loss and finite slopes."""
    for gap in (4000.0, -4000.0):
        value, better, worse, _ = _loss(loss, [(-5000.0 + gap, -5000.0, -5000.0, -5000.0)])
        slopes = torch.cat([better, worse])
        is_finite = value.isfinite() and slopes.isfinite().all()
        expect(is_finite, f"loss {float(value):g}, slopes {plain(slopes)} at log-ratio {gap:g}")


@CHECKS.add("huggingface/trl#1380")
def pairs_are_averaged(loss: TrainerLoss) -> None:
    """The loss of two pairs is the mean of theirs."""
    if loss.form == "bco":
        raise NotApplicable("its shift is a mean over the batch")
    other = (-7.0, -9.0, -8.0, -6.5)
    value, better, _, _ = _loss(loss, [_PAIR, other])
    alone = [_loss(loss, [pair])[0] for pair in (_PAIR, other)]
    same(value, (alone[0] + alone[1]) / 2, "the loss of two pairs")
    same(2 * better[0], _loss(loss, [_PAIR])[1][0], "the slope of the first of two")


@CHECKS.add("OpenRLHF/OpenRLHF#237; huggingface/trl#2209")
def what_both_sides_share_cancels(loss: TrainerLoss) -> None:
    """A prompt's log-probability on both sides changes nothing in a loss of differences."""
    loss.only("dpo", "cdpo", "robust", "ipo", "hinge", "exo", "cpo", None)
    value, _, _, _ = _loss(loss, [_PAIR])
    shared, _, _, _ = _loss(loss, [(-13.0, -15.0, -11.0, -11.5)])
    same(shared, value, "the loss with 3 nats less on both sides")


@CHECKS.add("huggingface/trl#1962, #2423")
def the_reference_is_read(loss: TrainerLoss) -> None:
    """Another reference gives another loss."""
    if not (loss.takes("ref_chosen") and loss.takes("ref_rejected")):
        raise NotApplicable("it has no reference")
    value, _, _, _ = _loss(loss, [_PAIR])
    for name, pair in (
        ("chosen", (-10.0, -12.0, -9.0, -11.5)),
        ("rejected", (-10.0, -12.0, -11.0, -14.0)),
    ):
        other, _, _, _ = _loss(loss, [pair])
        expect(abs(float(other - value)) > 1e-4, f"{plain(other)} whatever pi_ref of the {name} is")
