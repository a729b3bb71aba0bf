"""Every episode of a small conversation, and the squared path losses over all of them.

A policy is a table of logits [S, V] of the states, beside a value for each; the environment's
answers happen by their chances, whatever the behavior is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import root
from torch import Tensor
from torch.nn.functional import pad

from agents.off_policy.oreo import OREOAlgorithm
from agents.off_policy.residuals import soft_gains, sub_path_residuals, trajectory_residuals
from agents.off_policy.soft_values import soft_q_target, suffix_residuals
from agents.policy import PolicyOutput
from agents.settings.off_policy.values import OREOConfig
from rlhf_env.exact import evaluate, solve
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.off_policy.minimize import least
from tests.rlhf_env.exact.test_brute_force import after, rules
from tests.rlhf_env.exact.test_dialogue_tree import V

History = tuple[int, ...]
Loss = Callable[["Episodes", Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """E episodes of at most D actions, float64; the reference is uniform."""

    task: Task
    states: list[History]
    """What was said in each of S states."""
    state: Tensor
    """[E, D] int64."""
    token: Tensor
    """[E, D] int64."""
    mask: Tensor
    """[E, D] bool."""
    chance: Tensor
    """[E] that the environment answers so."""
    rewards: Tensor
    """[E, D] the score at the last action."""
    kl_coef: Tensor
    """[E] beta."""

    @classmethod
    def of(cls, task: Task, kl_coef: float) -> Episodes:
        """Write down all that can be said."""
        found = list(_episodes(task, (), 1.0, task.max_new_tokens, []))
        states = list(dict.fromkeys(said for _, steps, _ in found for said, _ in steps))
        shape = len(found), max(len(steps) for _, steps, _ in found)
        state, token = torch.zeros(2, *shape, dtype=torch.int64)
        rewards = torch.zeros(shape, dtype=torch.float64)
        mask = torch.zeros(shape, dtype=torch.bool)
        for row, (_, steps, said) in enumerate(found):
            for t, (before, chosen) in enumerate(steps):
                state[row, t], token[row, t], mask[row, t] = states.index(before), chosen, True
            rewards[row, len(steps) - 1] = rules(task)[1](said)
        return cls(
            task=task,
            states=states,
            state=state,
            token=token,
            mask=mask,
            chance=torch.tensor([chance for chance, _, _ in found], dtype=torch.float64),
            rewards=rewards,
            kl_coef=torch.full((len(found),), kl_coef, dtype=torch.float64),
        )

    @property
    def optimum(self) -> tuple[Tensor, Tensor]:
        """log pi* [S, V] and V* [S]."""
        best = solve(self.task, float(self.kl_coef[0]))
        policy = torch.tensor([best.policy[said] for said in self.states], dtype=torch.float64)
        values = torch.tensor([best.values[said] for said in self.states], dtype=torch.float64)
        return policy.log(), values

    def logprobs(self, table: Tensor) -> Tensor:
        """[E, D] of the actions under a table of logits."""
        chosen = table.log_softmax(dim=1)[self.state, self.token]
        return chosen.masked_fill(~self.mask, 0.0)

    def probabilities(self, table: Tensor) -> Tensor:
        """[E] of the episodes under a table of logits."""
        return self.chance * self.logprobs(table).sum(dim=1).exp()

    def log_ratio(self, table: Tensor) -> Tensor:
        """[E, D] to the uniform reference."""
        return self.logprobs(table) - self.logprobs(torch.zeros_like(table))

    def rollout(self) -> Rollout:
        """The actions of all episodes after a prompt of one token, without the answers."""
        uniform = torch.zeros(len(self.states), V, dtype=torch.float64)
        rewards = pad(self.rewards, (1, 0))
        nothing = torch.zeros_like(rewards)
        order = torch.arange(len(self.mask))
        steps = torch.arange(self.mask.shape[1]).expand_as(self.mask)
        return Rollout(
            tokens=pad(self.token, (1, 0)),
            is_action=pad(self.mask, (1, 0)),
            logprobs=nothing,
            ref_logprobs=pad(self.logprobs(uniform), (1, 0)),
            rewards=rewards,
            reward_terms={"score": rewards, "kl": nothing},
            score=self.rewards.sum(dim=1),
            terminated=torch.ones_like(order, dtype=torch.bool),
            group=order,
            prompt_index=torch.zeros_like(order),
            decision=pad(steps.masked_fill(~self.mask, -1), (1, 0), value=-1),
            kl_coef=self.kl_coef,
        )

    def output(self, table: Tensor, values: Tensor) -> PolicyOutput:
        """What a table of logits and a value head say of `rollout`."""
        logprobs = pad(self.logprobs(table), (1, 0))
        return PolicyOutput(
            logprobs=logprobs,
            entropy=torch.zeros_like(logprobs),
            values=pad(values[self.state].masked_fill(~self.mask, 0.0), (1, 0)),
            last_values=torch.zeros_like(self.chance),
            term_values={},
            last_term_values={},
        )

    def share_of_optimum(self, table: Tensor) -> float:
        """J / J* of a table of logits."""
        beta = float(self.kl_coef[0])
        rows = table.softmax(dim=1)
        # float64 rows sum to 1 up to rounding, which `evaluate` checks.
        policy = dict(zip(self.states, rows.tolist(), strict=True))
        found = evaluate(self.task, policy, beta).objective
        return found / solve(self.task, beta).objective


def trajectory_loss(of: Episodes, table: Tensor, values: Tensor) -> Tensor:
    """[E] of trajectory balance, TBRM and ReVal: the value of the prompt is a number of its own."""
    ratio = of.log_ratio(table)
    found = trajectory_residuals(of.rewards, ratio, of.mask, of.kl_coef, 1.0)
    return (found + values[0] / of.kl_coef).square()


def suffix_loss(of: Episodes, table: Tensor, values: Tensor) -> Tensor:
    """[E] of ShiQ: each state has a value of its own."""
    ratio = of.log_ratio(table)
    found = suffix_residuals(
        values[of.state], of.rewards, ratio, of.mask, of.kl_coef, 1.0, holds_later=False
    )
    return (found / of.kl_coef[:, None]).square().sum(dim=1)


def sub_path_loss(of: Episodes, table: Tensor, values: Tensor) -> Tensor:
    """[E] of PCL."""
    gains = soft_gains(of.rewards, of.log_ratio(table), of.mask, of.kl_coef)
    nothing = torch.zeros_like(of.kl_coef)
    found, _ = sub_path_residuals(values[of.state], nothing, gains, of.mask, 1.0)
    return found.square().sum(dim=(1, 2))


def oreo_loss(**settings: Any) -> Loss:
    """[E] of `OREO` itself."""
    rule = OREOAlgorithm(OREOConfig(**settings))
    unread: Any = None

    def loss(of: Episodes, table: Tensor, values: Tensor) -> Tensor:
        rollout, new = of.rollout(), of.output(table, values)
        targets = rule.targets(rollout, new, reference=unread)
        return rule.loss(rollout, new, new, targets)[0]

    return loss


def decision_loss(of: Episodes, table: Tensor, values: Tensor) -> Tensor:
    """[E] of SoftQ, whose target network is the policy as it is."""
    known = values[of.state]
    q = known + of.kl_coef[:, None] * of.log_ratio(table)
    aims = soft_q_target(of.rewards, known.detach(), of.mask, 1.0)
    return (q - aims).square().masked_fill(~of.mask, 0.0).sum(dim=1)


def field(of: Episodes, loss: Loss, behavior: Tensor, table: Tensor, values: Tensor) -> Tensor:
    """[S·V + S] the expected gradient of a loss in table and values; the behavior stands still."""
    leaves = [table.clone().requires_grad_(), values.clone().requires_grad_()]
    mean = of.probabilities(behavior).detach() @ loss(of, *leaves)
    return torch.cat([slope.flatten() for slope in torch.autograd.grad(mean, leaves)])


def minimum(of: Episodes, loss: Loss, behavior: Tensor) -> tuple[Tensor, Tensor, float]:
    """Table, values and loss where the expected loss is least, from the reference on."""
    table, values = torch.zeros_like(behavior), torch.zeros(len(behavior), dtype=torch.float64)
    weights = of.probabilities(behavior).detach()
    leaves = [table.requires_grad_(), values.requires_grad_()]
    found = least(lambda: weights @ loss(of, table, values), leaves)
    return table.detach(), values.detach(), found


def standstill(of: Episodes, loss: Loss, behavior: Tensor) -> Tensor:
    """The table where the expected gradient of a loss is 0, which need not be a minimum."""
    size = behavior.numel()

    def slope(point: np.ndarray) -> np.ndarray:
        table, values = torch.from_numpy(point).split([size, len(behavior)])
        return field(of, loss, behavior, table.view_as(behavior), values).numpy()

    found = root(slope, np.zeros(size + len(behavior)), method="lm", options={"xtol": 1e-14})
    assert np.abs(found.fun).max() < 1e-9
    return torch.from_numpy(found.x[:size]).view_as(behavior)


def _episodes(
    task: Task, said: History, chance: float, left: int, steps: list[tuple[History, int]]
) -> Iterator[tuple[float, list[tuple[History, int]], History]]:
    for token in range(V):
        taken = [*steps, (said, token)]
        for likely, following in after(task, (*said, token), left - 1):
            if following is None:
                yield chance * likely, taken, (*said, token)
            else:
                yield from _episodes(task, following, chance * likely, left - 1, taken)
