"""All pairs of responses of "toy15" as one batch, with exact weights and labels, in float64.

Pairs are drawn from the reference, two different responses each; the first wins with the
Bradley-Terry probability of the scores. A policy is a [3, 7] table of logits; responses and states
are numbered as in `tests.rlhf_env.toy15_tables`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize, root
from torch import Tensor

from agents.preference.comparisons import Ranking, Sides
from agents.preference.losses import LIST_LOSSES, PAIR_LOSSES, expected_loss
from rlhf_env.tasks import load_task
from tests.rlhf_env.toy15_tables import ACTIONS, SCORES, STATES

BEST = 1.125295
LENGTHS = (ACTIONS >= 0).sum(dim=1)
REFERENCE = next(load_task("toy15").reference.parameters()).detach().double()
FIRST, SECOND = (~torch.eye(15, dtype=torch.bool)).nonzero().T
WINS = (SCORES[:, None] - SCORES[None, :]).sigmoid()
P_FIRST = WINS[FIRST, SECOND]

Loss = Callable[[Tensor], Tensor]


def logprobs(table: Tensor, gamma: float = 1.0) -> Tensor:
    """[15] Σ_t gamma^t log π(a_t|s_t)."""
    chosen = table.log_softmax(dim=0)[ACTIONS.clamp(min=0), STATES]
    discounts = gamma ** torch.arange(3, dtype=torch.float64)
    return (torch.where(ACTIONS >= 0, chosen, 0.0) * discounts).sum(dim=1)


REF_LOGPROBS = logprobs(REFERENCE)
REF = REF_LOGPROBS.exp()
WEIGHTS = REF[FIRST] * REF[SECOND] / (REF[FIRST] * REF[SECOND]).sum()


def forward_kl_by_state(table: Tensor) -> Tensor:
    """[7] KL(π_ref(·|s) ‖ π(·|s))."""
    ref, new = REFERENCE.log_softmax(dim=0), table.log_softmax(dim=0)
    return (ref.exp() * (ref - new)).sum(dim=0)


def all_sides(table: Tensor, gamma: float = 1.0) -> Sides:
    """The 210 ordered pairs."""
    new, ref = logprobs(table, gamma), logprobs(REFERENCE, gamma)
    kl = torch.where(ACTIONS >= 0, forward_kl_by_state(table)[STATES], 0.0).sum(dim=1)
    return Sides(
        first=new[FIRST],
        second=new[SECOND],
        ref_first=ref[FIRST],
        ref_second=ref[SECOND],
        first_length=LENGTHS[FIRST],
        second_length=LENGTHS[SECOND],
        margin=SCORES[FIRST] - SCORES[SECOND],
        first_kl=kl[FIRST],
        second_kl=kl[SECOND],
    )


def better_length(p: Tensor = P_FIRST) -> float:
    """The mean length of the better response: the batch's tokens a pair."""
    return (WEIGHTS * (p * LENGTHS[FIRST] + (1 - p) * LENGTHS[SECOND])).sum().item()


def pair_loss(name: str, p: Tensor = P_FIRST, gamma: float = 1.0, **options: object) -> Loss:
    """The population's mean loss, a function of the table."""

    def loss(table: Tensor) -> Tensor:
        losses = expected_loss(PAIR_LOSSES[name], all_sides(table, gamma), p, **options)
        return (WEIGHTS * losses).sum()

    return loss


def list_loss(name: str, rankings: Tensor, weights: Tensor, **options: object) -> Loss:
    """The mean over lists of responses, the best first: [N, K] and [N]."""
    labels = torch.arange(rankings.shape[1], 0, -1).double() - 1

    def one(new: Tensor, ref: Tensor, lengths: Tensor) -> Tensor:
        ranking = Ranking(logprobs=new, ref_logprobs=ref, lengths=lengths, labels=labels)
        return LIST_LOSSES[name](ranking, **options)

    def loss(table: Tensor) -> Tensor:
        every = torch.vmap(one)
        new = logprobs(table)[rankings]
        return (weights * every(new, REF_LOGPROBS[rankings], LENGTHS[rankings])).sum()

    return loss


def slope(loss: Loss, table: Tensor) -> Tensor:
    """[3, 7] the gradient, or the field where a loss detaches something."""
    leaf = table.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def tilted(exponents: Tensor, base: Tensor | None = None) -> Tensor:
    """The table of the distribution ∝ base · exp(exponents), [15]; the base is the reference."""
    logweights = (REF_LOGPROBS if base is None else base) + exponents
    table = torch.full((3, 7), -torch.inf, dtype=torch.float64)
    for action in range(3):
        for state in range(7):
            takes = ((action == ACTIONS) & (state == STATES)).any(dim=1)
            table[action, state] = logweights[takes].logsumexp(dim=0)
    return table


def objective(table: Tensor, beta: float = 0.5) -> float:
    """J = E[r] − beta KL of whole responses."""
    reward, kl = reward_and_kl(table)
    return reward - beta * kl


def reward_and_kl(table: Tensor) -> tuple[float, float]:
    """E[r] and KL(π ‖ π_ref) of whole responses."""
    new = logprobs(table)
    kl = (new.exp() * (new - REF_LOGPROBS)).sum()
    return (new.exp() * SCORES).sum().item(), kl.item()


def minimizer(loss: Loss, start: Tensor = REFERENCE) -> Tensor:
    """The table where a loss is smallest, found from ``start``; EOS keeps its logits."""

    def both(free: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = _with_free_logits(free, start).requires_grad_()
        value = loss(leaf)
        (found,) = torch.autograd.grad(value, leaf)
        return value.item(), found[1:].flatten().numpy()

    options = {"gtol": 1e-10, "maxiter": 5000}
    found = minimize(both, start[1:].flatten().numpy(), jac=True, method="BFGS", options=options)
    return _with_free_logits(found.x, start)


def zero_of_field(loss: Loss, start: Tensor = REFERENCE) -> Tensor:
    """The table where the slope of a loss, detached terms and all, is zero."""

    def field(free: np.ndarray) -> np.ndarray:
        return slope(loss, _with_free_logits(free, start))[1:].flatten().numpy()

    found = root(field, start[1:].flatten().numpy(), tol=1e-12)
    return _with_free_logits(found.x, start)


def _with_free_logits(free: np.ndarray, start: Tensor) -> Tensor:
    return torch.cat([start[:1], torch.from_numpy(free).reshape(2, 7)])
