"""Checks of estimates of KL(pi || pi_ref) from the log-probabilities of chosen tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.losses.subject import TrainerLoss, far, plain, same

CHECKS = CheckList("kl")
_PI = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
_REF = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
# E_pi of each estimate; KL(pi || ref) = 0.025267 and KL(ref || pi) = 0.025815.
_EXPECTED = {"k1": 0.025267, "k2": 0.024862, "k3": 0.025267}
# At log pi/pi_ref = 0.5 (http://joschu.net/blog/kl-approx.html).
_AT_HALF = {"k1": 0.5, "k2": 0.125, "k3": 0.106531}


def _estimate(kl: TrainerLoss, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Call the function with one response, [1, T], and return [T]."""
    return kl(logprobs=logprobs[None], ref_logprobs=ref_logprobs[None]).reshape(-1)


@CHECKS.add("marin#1708; huggingface/trl#3104")
def it_points_from_policy_to_reference(kl: TrainerLoss) -> str:
    """Its mean under the policy is KL(pi || pi_ref), or E[log-ratio^2] / 2 of k2."""
    found = float((_PI * _estimate(kl, _PI.log(), _REF.log())).sum())
    due = [_EXPECTED[kl.form]] if kl.form else sorted(set(_EXPECTED.values()))
    is_due = any(abs(found - value) < 1e-5 for value in due)
    expect(is_due, f"mean {found:.6f}, expected {' or '.join(map(str, due))}")
    return f"mean {found:.6f}"


@CHECKS.add("http://joschu.net/blog/kl-approx.html; huggingface/trl#2854")
def it_is_the_estimator_that_it_says(kl: TrainerLoss) -> str:
    """At a log-ratio of 0.5 it has the value of k1, k2 or k3."""
    zero = torch.zeros(1, dtype=torch.float64)
    found = _estimate(kl, zero - 1.0, zero - 1.5)
    names = [name for name, due in _AT_HALF.items() if far(found, [due]) is None]
    expect(names and kl.form in (None, *names), f"{plain(found)}, which is {names or 'none'}")
    return names[0]


@CHECKS.add("huggingface/trl#2854")
def equal_policies_have_none(kl: TrainerLoss) -> None:
    """It is 0 where policy and reference agree."""
    same(_estimate(kl, _PI.log(), _PI.log()), [0.0, 0.0, 0.0], "the KL of a policy to itself")


@CHECKS.add("unsloth-zoo#832; huggingface/trl#4772")
def an_absurd_log_ratio_stays_finite(kl: TrainerLoss) -> None:
    """A log-ratio of +-200 in float32 gives a finite estimate and a finite gradient."""
    for log_ratio in (200.0, -200.0):
        logprobs = torch.full((1,), -300.0, requires_grad=True)
        value = _estimate(kl, logprobs, logprobs.detach() - log_ratio)
        slope = torch.zeros(1)
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), logprobs)
        is_finite = value.isfinite().all() and slope.isfinite().all()
        seen = f"{float(value):g} with slope {float(slope):g} at log-ratio {log_ratio:g}"
        expect(is_finite, seen)


@CHECKS.add("allenai/open-instruct#534; NVIDIA-NeMo/RL#2506; arXiv:2512.21852")
def in_the_loss_it_pulls_as_the_kl(kl: TrainerLoss) -> str:
    """As a term of the loss its expected gradient is that of KL(pi || pi_ref).

    k1 has none in expectation, and k3 that of another divergence; k2 has the right one.
    """
    if kl.role != "loss":
        raise NotApplicable("for a term of the loss only")
    logits = _PI.log().clone().requires_grad_(True)
    exact = (logits.softmax(0) * (logits.log_softmax(0) - _REF.log())).sum()
    (due,) = torch.autograd.grad(exact, logits)
    mean = (_PI * _estimate(kl, logits.log_softmax(0), _REF.log())).sum()
    (found,) = torch.autograd.grad(mean, logits)
    norm = float(due.norm())
    off = float((found - due).norm()) / norm
    expect(
        off < 1e-4,
        f"off by {100 * off:.1f} % of the true gradient, norm {float(found.norm()):.4f}",
    )
    return f"off by {100 * off:.1g} %"
