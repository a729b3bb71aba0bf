"""Q# is the optimum and VAS is not; both are policies wherever one is asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import agents
from agents.evaluation.evaluate import evaluate as evaluate_policy
from agents.guided.exact_returns import ExactReturns
from agents.guided.fitting import fit_returns
from agents.guided.policies import VAS, GuidedPolicy, QSharp
from agents.guided.returns import ReturnModel, on_atoms
from rlhf_env.exact import evaluate, solve
from rlhf_env.exact.enumerated import enumerate_task, model_logprobs
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.agents.off_policy.test_soft_values import random_task
from tests.dialogues import talk_task
from tests.toys import tiny_llama_task


@pytest.mark.parametrize("kl_coef", [0.5, 0.1])
@pytest.mark.parametrize("task", [load_task("toy15"), random_task()], ids=["toy15", "random"])
def test_q_sharp_is_the_optimum(task: Task, kl_coef: float) -> None:
    found = evaluate(task, QSharp(task, ExactReturns(task), kl_coef=kl_coef), kl_coef)
    assert found.objective == pytest.approx(solve(task, kl_coef).objective, abs=1e-6)


@pytest.mark.parametrize("task", [load_task("toy15"), random_task()], ids=["toy15", "random"])
def test_vas_is_the_policy_of_mean_returns(task: Task) -> None:
    """Worked out for all states by hand: the values of the reference, backed up without beta."""
    best, mean = solve(task, 0.5), evaluate(task, task.reference, 0.0)
    tree = enumerate_task(task, None)
    reference = dict(zip(tree.states, np.exp(model_logprobs(tree, task.reference)), strict=True))

    def by_hand(prefix: tuple[int, ...]) -> list[float]:
        weights = []
        for token in range(3):
            said = (*prefix, token)
            ends = token == task.eos_id or len(said) == task.max_new_tokens
            score = task.reward([task.prompts[0]], [torch.tensor(said)]) if ends else [0.0]
            q = float(score[0]) if ends else mean.values[said]
            weights.append(float(reference[prefix][token]) * math.exp(q / 0.5))
        return [weight / sum(weights) for weight in weights]

    found = evaluate(task, VAS(task, ExactReturns(task), kl_coef=0.5), 0.5)
    assert found.objective == pytest.approx(evaluate(task, by_hand, 0.5).objective, abs=1e-6)
    assert found.objective < best.objective - 1e-3


def test_candidates_leave_the_others_to_the_reference(toy15: Task) -> None:
    """One candidate is its own mean, so nothing moves; all of them are no restriction."""
    returns = ExactReturns(toy15)
    one, every, free = (QSharp(toy15, returns, candidates=k) for k in (1, 3, None))
    reference = evaluate(toy15, toy15.reference, 0.5).objective
    assert evaluate(toy15, one, 0.5).objective == pytest.approx(reference, abs=1e-6)
    assert evaluate(toy15, every, 0.5).objective == evaluate(toy15, free, 0.5).objective


def test_two_candidates_by_hand(toy15: Task) -> None:
    policy = QSharp(toy15, ExactReturns(toy15), candidates=2)
    tokens, length = toy15.prompts[0][None], torch.tensor([1])
    reference = toy15.reference(input_ids=tokens).logits[0, -1].detach().double()
    tree = ExactReturns(toy15)
    q = tree.log_mean_exp(tree.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool)), 0.5)[0]
    best = reference.topk(2).indices
    logits = reference.clone()
    logits[best] += (q[best] - q[best].mean()) / 0.5
    found = policy.token_probabilities(tokens, length)[0]
    assert found.tolist() == pytest.approx(logits.softmax(0).tolist(), abs=1e-6)


def test_its_episodes_are_of_its_own_probabilities(toy15: Task) -> None:
    policy = QSharp(toy15, ExactReturns(toy15))
    envs = make_envs(toy15, 16)
    fast = agents.collect(envs, policy, 64, seed=1)
    stepped = agents.collect(envs, policy, 64, seed=1, fast=False)
    assert torch.equal(fast.tokens, stepped.tokens)
    described = policy.evaluate_episodes(fast.tokens, fast.is_action)
    assert torch.allclose(described.logprobs, fast.logprobs, atol=1e-5)
    assert torch.allclose(stepped.logprobs, fast.logprobs, atol=1e-5)


def test_it_is_evaluated_like_any_policy(toy15: Task) -> None:
    policy = QSharp(toy15, ExactReturns(toy15), candidates=2)
    found = evaluate_policy(make_envs(toy15, 16), policy, 4096)
    exact = evaluate(toy15, policy, 0.5)
    assert found["kl_exact"] == pytest.approx(exact.kl, rel=0.05)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(("kind", "bar"), [(QSharp, 0.99), (VAS, 0.9)])
def test_returns_are_learned_from_the_reference(toy15: Task, kind: Any, bar: float) -> None:
    returns = fit_returns(make_envs(toy15, 16), 2048, learning_rate=0.05, batch_size=256)
    best, start = solve(toy15, 0.5).objective, evaluate(toy15, toy15.reference, 0.5).objective
    found = evaluate(toy15, kind(toy15, returns), 0.5).objective
    assert (found - start) / (best - start) > bar


def test_a_real_model_guides_and_is_guided() -> None:
    task = tiny_llama_task(horizon=4)
    envs = make_envs(task, 8)
    returns = fit_returns(envs, 32, passes=2)
    policy = QSharp(task, returns, candidates=5, temperature=0.7)
    rollout = agents.collect(envs, policy, 16, seed=0)
    described = policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    assert torch.allclose(described.logprobs, rollout.logprobs, atol=1e-4)


def test_a_return_between_two_atoms_is_shared() -> None:
    found = on_atoms(torch.tensor([0.25, -9.0, 2.0]), torch.tensor([0.0, 1.0, 2.0]))
    assert found.tolist() == [[0.75, 0.25, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_the_rows_of_one_token_are_those_of_all(toy15: Task) -> None:
    returns = fit_returns(make_envs(toy15, 16), 64, passes=3, learning_rate=0.1)
    tokens = torch.tensor([[0, 1, 2], [0, 2, 2]])
    hidden = returns.hidden(tokens, torch.tensor([[False, True, False], [False, True, False]]))
    chosen = returns.chosen_logprobs(hidden, torch.tensor([2, 0]))
    whole = returns.logprobs(hidden)
    assert torch.allclose(chosen, whole[torch.arange(2), torch.tensor([2, 0])], atol=1e-6)


@pytest.mark.parametrize("atoms", [[1.0], [1.0, 1.0], [2.0, 1.0]])
def test_returns_must_ascend(toy15: Task, atoms: list[float]) -> None:
    with pytest.raises(ValueError, match="atoms must be at least two returns in ascending order"):
        ReturnModel(toy15.reference, 3, atoms)


def test_a_conversation_is_refused(toy15: Task) -> None:
    with pytest.raises(ValueError, match="is a conversation"):
        QSharp(talk_task(), ExactReturns(toy15))


@pytest.mark.parametrize("settings", [{"kl_coef": 0.0}, {"candidates": 0}])
def test_numbers_out_of_range_are_refused(toy15: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        QSharp(toy15, ExactReturns(toy15), **settings)


def test_the_base_class_has_no_values() -> None:
    assert GuidedPolicy.q_values.__isabstractmethod__  # type: ignore[attr-defined]
