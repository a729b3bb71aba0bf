"""Checks of learning rules: what ``targets`` and ``loss`` owe the learner that calls them.

They are made on a few episodes of "toy15", with outputs of the policy that are leaves of the
graph, so that the slope of a loss in every token's log-probability can be read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.algorithm import StatefulAlgorithm, check_targets, take_rows
from agents.exact_gradients.measure import exact_gradients
from agents.testing.algorithm_case import AlgorithmCase, tensors, widened
from agents.testing.algorithm_case import algorithm_case as algorithm_case
from agents.training.learner import Learner
from rlhf_env.testing.claims import CheckList, NotApplicable, expect

CHECKS = CheckList("algorithm")


@CHECKS.add("rllm#713; PrimeIntellect-ai/prime-rl#1715")
def targets_have_a_row_for_each_episode(case: AlgorithmCase) -> None:
    """``targets`` returns a dataclass whose tensors have one row per episode."""
    check_targets(case.targets(), len(case.rollout))


@CHECKS.add("huggingface/trl#5619; allenai/open-instruct#1161")
def a_loss_is_one_number_for_each_episode(case: AlgorithmCase) -> None:
    """``loss`` leaves the mean over episodes to the learner, and every loss is finite."""
    losses, slope = case.losses(case.rollout, case.old, case.targets())
    expect(losses.isfinite().all() and slope.isfinite().all(), f"losses {losses.tolist()}")


@CHECKS.add("huggingface/trl#5619, #6024; allenai/open-instruct#1161; modelscope/ms-swift#10117")
def rows_may_be_split(case: AlgorithmCase) -> None:
    """The slopes of half of the groups are those that they have beside the others."""
    targets = case.targets()
    _, whole = case.losses(case.rollout, case.old, targets)
    group, half = case.rollout.group, len(case.rollout) // 2
    rows = (group == group[half:].min()).logical_or(group > group[half]).nonzero().flatten()
    part, old, aims = case.rollout.take(rows), take_rows(case.old, rows), take_rows(targets, rows)
    _, slope = case.losses(part, old, aims)
    width = slope.shape[1]
    gap = float((whole[rows][:, :width] - slope).abs().max())
    expect(gap < 1e-5, f"slopes change by up to {gap:.3g} without the other groups")


@CHECKS.add("radixark/miles#1966")
def targets_carry_no_gradient(case: AlgorithmCase) -> None:
    """No graph hangs on targets: they are what is aimed at."""
    for name, value in tensors(case.targets()):
        expect(not value.requires_grad, f"{name} requires a gradient")


@CHECKS.add("DeepSpeedExamples#672; OpenRLHF/OpenRLHF#237")
def only_chosen_tokens_are_learned(case: AlgorithmCase) -> None:
    """Prompts and padding get no gradient."""
    _, slope = case.losses(case.rollout, case.old, case.targets())
    leaked = float(slope[~case.rollout.is_action].abs().max())
    expect(leaked == 0, f"a slope of {leaked:.3g} where no token was chosen")


@CHECKS.add("huggingface/trl#1623, #3091; arXiv:2403.17031")
def the_last_token_is_learned(case: AlgorithmCase) -> None:
    """Where anything of a response is learned its last token is, which may be EOS."""
    _, slope = case.losses(case.rollout, case.old, case.targets(), shift=0.01)
    last = slope[case.rollout.last_action]
    is_learned = (slope != 0).any(1)
    _expect_loss_moves(case, slope)
    expect((last[is_learned] != 0).all(), f"slopes {last[is_learned].tolist()} at the last tokens")


@CHECKS.add("eric-mitchell/direct-preference-optimization#4; huggingface/trl#2854")
def the_width_of_the_padding_does_not_matter(case: AlgorithmCase) -> None:
    """Three more columns of padding change no loss."""
    losses, _ = case.losses(case.rollout, case.old, case.targets())
    wide, old = widened(case.rollout), widened(case.old)
    reference = case.agent.base.mdp.reference
    other, _ = case.losses(wide, old, case.rule.targets(wide, old, reference))
    gap = float((losses - other).abs().max())
    expect(gap < 1e-5, f"losses change by up to {gap:.3g}")


@CHECKS.add("huggingface/trl#6365; arXiv:2503.14476")
def equal_rewards_stay_finite(case: AlgorithmCase) -> None:
    """Episodes that are all paid nothing give finite losses and slopes."""
    nothing = torch.zeros_like(case.rollout.rewards)
    paid = case.rollout.replace(
        rewards=nothing,
        reward_terms=dict.fromkeys(case.rollout.reward_terms, nothing),
        score=torch.zeros_like(case.rollout.score),
    )
    losses, slope = case.losses(paid, case.old, case.targets(paid))
    expect(losses.isfinite().all() and slope.isfinite().all(), f"losses {losses.tolist()}")


@CHECKS.add("huggingface/trl#4772; unsloth-zoo#832")
def an_absurd_ratio_stays_finite(case: AlgorithmCase) -> None:
    """Log-probabilities that moved by 100 nats a token give finite losses and slopes."""
    targets = case.targets()
    for shift in (100.0, -100.0):
        losses, slope = case.losses(case.rollout, case.old, targets, shift)
        is_finite = losses.isfinite().all() and slope.isfinite().all()
        expect(is_finite, f"losses {losses.tolist()} after {shift:g} nats")


@CHECKS.add("recursionpharma/gflownet#61")
def the_rollout_stays_as_it_is(case: AlgorithmCase) -> None:
    """Neither method writes into the episodes or into the outputs of the policy that acted."""
    kept = [(name, value.clone()) for name, value in _of(case)]
    case.losses(case.rollout, case.old, case.targets())
    for (name, before), (_, now) in zip(kept, _of(case), strict=True):
        is_kept = torch.equal(before.nan_to_num(), now.nan_to_num())
        expect(is_kept, f"{name} was changed")


@CHECKS.add("allenai/open-instruct#648")
def the_same_episodes_teach_the_same(case: AlgorithmCase) -> None:
    """Called twice on the same episodes it returns the same losses."""
    first, _ = case.losses(case.rollout, case.old, case.targets())
    second, _ = case.losses(case.rollout, case.old, case.targets())
    expect(torch.equal(first, second), f"{first.tolist()} and then {second.tolist()}")


@CHECKS.add("huggingface/trl#3247, #2657")
def its_state_can_be_restored(case: AlgorithmCase) -> None:
    """``load_state(state())`` brings the state back after other episodes have changed it."""
    if not isinstance(case.rule, StatefulAlgorithm):
        raise NotApplicable("it has no state")
    before = dict(case.rule.state())
    case.targets()
    case.rule.load_state(before)
    expect(case.rule.state() == before, f"{case.rule.state()} for {before}")


@CHECKS.add("allenai/open-instruct#534; NVIDIA-NeMo/RL#2506")
def its_expected_update_goes_uphill(case: AlgorithmCase) -> str:
    """The exact expectation of its update has a positive slope in the objective."""
    _expect_loss_moves(case, case.losses(case.rollout, case.old, case.targets())[1])
    try:
        found = exact_gradients(case.agent, draws=64)
    except ValueError as reason:
        raise NotApplicable(str(reason)) from None
    expect(found.cosine > 0, f"cosine {found.cosine:.3f} with the gradient of the objective")
    return f"cosine {found.cosine:.3f}"


def _expect_loss_moves(case: AlgorithmCase, slope: Tensor) -> None:
    """Raise AssertionError where no token is learned, unless the learner does that otherwise."""
    if (slope != 0).any():
        return
    if case.agent.learner_class is not Learner:
        raise NotApplicable("its learner moves the policy by more than the loss")
    raise AssertionError("no token of any response is learned")


def _of(case: AlgorithmCase) -> list[tuple[str, Tensor]]:
    return [*tensors(case.rollout), *tensors(case.old)]
