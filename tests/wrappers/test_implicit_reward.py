from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import wrappers
from agents import credit
from rlhf_env import exact
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.agents.preference.toy15_population import BEST, minimizer, pair_loss, tilted
from tests.rlhf_env.toy15_tables import SCORES, STATES
from tests.toys import theta_policy
from tests.wrappers.episodes import TOY15, as_rollout, paid, soft_optimum, transformed

# Q* − V* of every state (rows) and token, beta 0.5.
ADVANTAGES = torch.tensor(
    [
        [0.250000 - 1.125295, 2.157518 - 1.125295, 0.151999 - 1.125295],
        [1.25 - 2.157518, 2.419912 - 2.157518, 1.085962 - 2.157518],
        [-0.25 - 0.151999, 1.085962 - 0.151999, -0.683587 - 0.151999],
        [2.25 - 2.419912, 3.00 - 2.419912, 1.50 - 2.419912],
        [0.75 - 1.085962, 1.50 - 1.085962, 0.00 - 1.085962],
        [0.75 - 1.085962, 1.50 - 1.085962, 0.00 - 1.085962],
        [-0.75 + 0.683587, 0.00 + 0.683587, -1.50 + 0.683587],
    ]
)


def with_table(task: Task, table: Tensor) -> Any:
    """The reference with other logits, [3, 7]."""
    policy = copy.deepcopy(task.reference)
    with torch.no_grad():
        next(policy.parameters()).copy_(table)
    return policy


def optimum(task: Task) -> Any:
    return with_table(task, tilted(SCORES / 0.5))


def implied(task: Task, policy: Any, **options: Any) -> Any:
    return wrappers.ImplicitReward(RLHFEnv(task), policy, beta=0.5, **options)


def test_the_optimum_implies_its_advantages(toy15: Task) -> None:
    env = implied(toy15, optimum(toy15), keep_total=False)
    for response, states in zip(TOY15, STATES.tolist(), strict=True):
        expected = [ADVANTAGES[s, a].item() for s, a in zip(states, response, strict=False)]
        assert paid(env, response) == pytest.approx(expected, abs=3e-6)


def test_dpo_learns_the_advantages(toy15: Task) -> None:
    """A policy trained on population data without ever seeing a score, within 1e-3."""
    trained = with_table(toy15, minimizer(pair_loss("dpo", beta=0.5)))
    env = implied(toy15, trained, keep_total=False)
    for response, states in zip(TOY15, STATES.tolist(), strict=True):
        expected = [ADVANTAGES[s, a].item() for s, a in zip(states, response, strict=False)]
        assert paid(env, response) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", ["theta", "optimum"])
def test_a_response_is_paid_its_score(toy15: Task, kind: str) -> None:
    policy = theta_policy(toy15) if kind == "theta" else optimum(toy15)
    env = implied(toy15, policy)
    for response, score in TOY15.items():
        assert sum(paid(env, response)) == pytest.approx(score, abs=1e-6)
    rollout = transformed(env, as_rollout(toy15, [(0, response) for response in TOY15]))
    sums = rollout.reward_terms["score"].double().sum(dim=1)
    assert sums.tolist() == pytest.approx(list(TOY15.values()), abs=1e-6)


def test_without_the_rest_it_is_the_log_ratio_as_in_hindsight(toy15: Task) -> None:
    policy = theta_policy(toy15)
    env = implied(toy15, policy, keep_total=False)
    rollout = transformed(env, as_rollout(toy15, [(0, response) for response in TOY15]))
    agents_policy = _logprobs(policy, rollout)
    reference = _logprobs(toy15.reference, rollout)
    hindsight = credit.implicit(rollout, agents_policy, reference, beta=0.5, keep_total=False)
    torch.testing.assert_close(
        rollout.reward_terms["score"], hindsight.reward_terms["score"], atol=1e-6, rtol=0
    )


def _logprobs(model: Any, rollout: Any) -> Tensor:
    logprobs = model(rollout.tokens).logits.detach().log_softmax(dim=-1)
    taken = torch.zeros(rollout.tokens.shape)
    taken[:, 1:] = logprobs[:, :-1].gather(2, rollout.tokens[:, 1:, None]).squeeze(2)
    return taken


@pytest.mark.parametrize(
    ("gamma", "terminal"), [(0.0, 0.102892), (0.5, 0.470448), (0.9, 0.973779), (1.0, 1.0)]
)
def test_a_discount_does_not_move_its_optimum(toy15: Task, gamma: float, terminal: float) -> None:
    def share(env: Any) -> float:
        policy = soft_optimum(env, toy15, gamma)
        return exact.evaluate(toy15, policy, 0.5).objective / BEST

    assert share(implied(toy15, optimum(toy15), keep_total=False)) >= 0.999
    assert share(wrappers.TerminalReward(RLHFEnv(toy15))) == pytest.approx(terminal, abs=2e-6)


def test_an_imperfect_policy_is_a_reward_of_its_own(toy15: Task) -> None:
    """With the rest paid, the undiscounted optimum stays; without, it is that very policy."""
    policy = theta_policy(toy15)
    kept = soft_optimum(implied(toy15, policy), toy15, 1.0)
    assert exact.evaluate(toy15, kept, 0.5).objective == pytest.approx(BEST, abs=1e-5)
    alone = soft_optimum(implied(toy15, policy, keep_total=False), toy15, 0.3)
    table = next(policy.parameters()).detach().softmax(dim=0)
    assert alone[()] == pytest.approx(table[:, 0].tolist(), abs=1e-5)
    assert alone[(1, 2)] == pytest.approx(table[:, 4].tolist(), abs=1e-5)


def test_training_the_policy_on_changes_nothing(toy15: Task) -> None:
    policy = theta_policy(toy15)
    env = implied(toy15, policy)
    before = paid(env, [1, 2, 0])
    with torch.no_grad():
        next(policy.parameters()).zero_()
    assert paid(env, [1, 2, 0]) == before
    assert all(parameter.requires_grad for parameter in policy.parameters())


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_beta_is_positive(toy15: Task, beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be a finite number greater than 0"):
        wrappers.ImplicitReward(RLHFEnv(toy15), toy15.reference, beta)
