"""Checks of generalized advantage estimation on responses (arXiv:1506.02438)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlhf_env.testing.claims import CheckList, NotApplicable
from rlhf_env.testing.losses.subject import TrainerLoss, same

CHECKS = CheckList("gae")
_REWARDS, _VALUES = [-0.1, -0.2, 0.9], [0.5, 0.6, 0.7]


def _row(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def _advantages(gae: TrainerLoss, **given: Any) -> Tensor:
    """Return the advantages of the response above, or of what is given instead, [B, T]."""
    inputs: dict[str, Any] = {
        "rewards": _row(_REWARDS),
        "values": _row(_VALUES),
        "gamma": 1.0,
        "gae_lambda": 0.95,
    } | given
    rewards = inputs["rewards"]
    inputs.setdefault("mask", torch.ones_like(rewards, dtype=torch.bool))
    inputs.setdefault("bootstrap", rewards.new_zeros(len(rewards)))
    return gae(**inputs)


@CHECKS.add("arXiv:1506.02438, eq. 16; DLR-RM/stable-baselines3 tests of GAE")
def a_finished_response_has_no_future(gae: TrainerLoss) -> None:
    """Three rewards and values of a terminated response give the advantages worked out by hand."""
    for gamma, gae_lambda, due in (
        (1.0, 0.95, [0.0855, 0.09, 0.2]),
        (1.0, 1.0, [0.1, 0.1, 0.2]),
        (1.0, 0.0, [0.0, -0.1, 0.2]),
        (0.9, 0.95, [-0.059145, 0.001, 0.2]),
    ):
        found = _advantages(gae, gamma=gamma, gae_lambda=gae_lambda)
        same(found, [due], f"gamma {gamma:g}, lambda {gae_lambda:g}")


@CHECKS.add("huggingface/trl#1536; DLR-RM/stable-baselines3#1787; ray-project/ray#57683")
def a_response_that_was_cut_is_bootstrapped(gae: TrainerLoss) -> None:
    """The value behind a truncated response counts as its future."""
    if not gae.takes("bootstrap"):
        raise NotApplicable("it takes no value behind the end")
    found = _advantages(gae, bootstrap=torch.tensor([0.8], dtype=torch.float64))
    same(found, [[0.8075, 0.85, 1.0]], "with a value of 0.8 behind the end")


@CHECKS.add("huggingface/trl#3750; alpaca-rlhf#9")
def values_of_the_padding_leak_nowhere(gae: TrainerLoss) -> None:
    """A critic that says 1e6 at the padding changes no advantage."""
    found = _advantages(
        gae,
        rewards=_row([*_REWARDS, 0.0, 0.0]),
        values=_row([*_VALUES, 1e6, -1e6]),
        mask=torch.tensor([[True, True, True, False, False]]),
    )
    same(found[:, :3], [[0.0855, 0.09, 0.2]], "advantages beside padding")


@CHECKS.add("pytorch/rl#2473; vwxyzjn/cleanrl#499")
def rows_do_not_touch_each_other(gae: TrainerLoss) -> None:
    """A response has the advantages beside longer and shorter ones that it has alone."""
    found = _advantages(
        gae,
        rewards=torch.tensor(
            [[*_REWARDS, 0.0], [0.3, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]
        ).double(),
        values=torch.tensor([[*_VALUES, 0.0], [0.1, 0.0, 0.0, 0.0], [4.0, 3.0, 2.0, 1.0]]).double(),
        mask=torch.arange(4) < torch.tensor([[3], [1], [4]]),
    )
    same(found[0, :3], [0.0855, 0.09, 0.2], "the first of three responses")
    same(found[1, :1], [0.2], "the second of three responses")


@CHECKS.add("radixark/miles#1827; verl-project/verl#7278; ROLL#447")
def tokens_of_others_are_no_steps(gae: TrainerLoss) -> None:
    """Tokens that a tool wrote between two of the policy's change no advantage of the policy's."""
    mask = torch.tensor([[True, False, False, True, True]])
    found = _advantages(
        gae,
        rewards=_row([-0.1, 0.0, 0.0, -0.2, 0.9]),
        values=_row([0.5, 100.0, -50.0, 0.6, 0.7]),
        mask=mask,
        gamma=0.9,
    )
    same(found[mask], [-0.059145, 0.001, 0.2], "advantages around two tokens of a tool")
