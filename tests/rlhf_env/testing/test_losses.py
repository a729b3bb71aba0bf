"""Checks of trainers' functions: right ones pass, and each wrong one fails at its own check."""

from __future__ import annotations

import pytest

from rlhf_env.testing import TrainerLoss, check_trainer_loss, checks, trainer_loss_results
from tests.rlhf_env.testing.faulty_losses import FAULTS, RIGHT

KINDS = ("policy_loss", "kl", "gae", "group_advantages", "whiten", "pair_loss", "value_loss")
KINDS += ("token_logprobs",)


@pytest.mark.parametrize("loss", RIGHT.values(), ids=RIGHT)
def test_what_is_right_passes(loss: TrainerLoss) -> None:
    check_trainer_loss(loss)


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_caught_by_its_check_alone(name: str) -> None:
    results = trainer_loss_results(FAULTS[name])
    assert [r.check.name for r in results if r.status == "fail"] == [name]
    with pytest.raises(AssertionError, match=rf"\.{name}: .*Seen: .*\(see "):
        check_trainer_loss(FAULTS[name])


def test_every_check_has_its_fault() -> None:
    assert [check.name for kind in KINDS for check in checks(kind)] and {
        check.name for kind in KINDS for check in checks(kind)
    } == set(FAULTS)
