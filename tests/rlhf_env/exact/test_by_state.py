from __future__ import annotations

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from rlhf_env.exact import Solution, evaluate, solve
from rlhf_env.exact.by_state import StatePolicy
from rlhf_env.task import Task
from rlhf_env.tasks import automaton_task, load_task
from tests.automata import as_plain_task, moved_policy, random_automaton

TIGHT = 1e-9


def assert_same(found: Solution, expected: Solution) -> None:
    for name in ("objective", "reward", "kl"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=TIGHT)
    assert list(found.values) == list(expected.values)
    for prefix, value in expected.values.items():
        assert found.values[prefix] == pytest.approx(value, abs=TIGHT)
        assert found.policy[prefix] == pytest.approx(expected.policy[prefix], abs=TIGHT)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("kl_coef", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(("vocab_size", "horizon"), [(3, 5), (2, 6), (5, 3), (3, 1)])
def test_solving_equals_enumeration(
    vocab_size: int, horizon: int, kl_coef: float, gamma: float
) -> None:
    for seed in range(3):
        task = random_automaton(seed, vocab_size=vocab_size, horizon=horizon)
        assert_same(solve(task, kl_coef, gamma), solve(as_plain_task(task), kl_coef, gamma))


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_solving_equals_enumeration_of_most_of_a_million_responses(gamma: float) -> None:
    task = random_automaton(0, num_states=7, vocab_size=4, horizon=12)
    found, expected = solve(task, 0.2, gamma), solve(as_plain_task(task), 0.2, gamma)
    for name in ("objective", "reward", "kl"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=TIGHT)
    for prefix in itertools.islice(expected.values, 0, None, 997):
        assert found.policy[prefix] == pytest.approx(expected.policy[prefix], abs=TIGHT)


@pytest.mark.parametrize("kind", ["table", "timed_table", "transformer"])
def test_any_policy_is_worth_what_enumeration_says(kind: str) -> None:
    task = random_automaton(1, policy=kind)
    policy = moved_policy(task)
    for kl_coef, gamma in ((0.3, 1.0), (0.05, 0.9), (0.0, 0.5)):
        found = evaluate(task, policy, kl_coef, gamma)
        expected = evaluate(as_plain_task(task), policy, kl_coef, gamma)
        for name in ("objective", "reward", "kl"):
            # A model's own arithmetic is float32.
            assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-6)


def test_policies_can_be_mappings_functions_and_arrays() -> None:
    task = random_automaton(2)
    solution = solve(task, 0.2)
    assert isinstance(solution.policy, StatePolicy)
    expected = solution.objective
    states = np.arange(4)
    table = np.stack([np.exp(solution.policy.logprobs(t, states)) for t in range(4)])
    for policy in (
        solution.policy,
        dict(solution.policy),
        solution.policy.__getitem__,
        table,
        torch.from_numpy(table),
    ):
        assert evaluate(task, policy, 0.2).objective == pytest.approx(expected, abs=TIGHT)
    uniform = np.full((4, 3), 1 / 3)
    found = evaluate(task, uniform, 0.2).objective
    assert found == pytest.approx(evaluate(task, lambda prefix: [1 / 3] * 3, 0.2).objective)


def forward(task: Task, policy: StatePolicy, kl_coef: float) -> tuple[float, float]:
    """E[score] and KL by carrying the distribution over states from the start to the end."""
    automaton = task.reward.automaton  # type: ignore[attr-defined]
    moves, score = automaton.next_state.numpy(), automaton.score.numpy()
    ref = log_softmax(automaton.reference_logits.double().numpy(), axis=1)
    alive, reward, kl = np.zeros(len(score)), 0.0, 0.0
    alive[int(automaton.starts[0])] = 1.0
    for time in range(task.max_new_tokens):
        logprobs = policy.logprobs(time, np.arange(len(score)))
        flow = alive[:, None] * np.exp(logprobs)
        kl += float((flow * (logprobs - ref)).sum())
        reward += float(flow[:, 0] @ score)
        alive = np.bincount(moves[:, 1:].ravel(), flow[:, 1:].ravel(), minlength=len(score))
    return reward + float(alive @ score), kl


def test_a_horizon_of_512_equals_forward_evaluation() -> None:
    task = random_automaton(3, num_states=50, vocab_size=8, horizon=512)
    solution = solve(task, 0.1)
    reward, kl = forward(task, solution.policy, 0.1)  # type: ignore[arg-type]
    assert solution.reward == pytest.approx(reward, abs=TIGHT)
    assert solution.kl == pytest.approx(kl, abs=TIGHT)
    assert solution.objective == pytest.approx(reward - 0.1 * kl, abs=TIGHT)
    assert evaluate(task, solution.policy, 0.1).objective == pytest.approx(solution.objective)


@pytest.mark.slow
def test_the_largest_task_is_solved_within_two_tables_of_values() -> None:
    task = random_automaton(4, num_states=10_000, vocab_size=8, horizon=1024)
    tracemalloc.start()
    try:
        solution = solve(task, 0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The values of the optimum and those of its evaluation; its policy would be V = 8 tables more.
    table = 1024 * 10_000 * 8
    assert 2 * table < peak < 2.2 * table
    reward, kl = forward(task, solution.policy, 0.1)  # type: ignore[arg-type]
    assert solution.objective == pytest.approx(reward - 0.1 * kl, abs=TIGHT)


def test_needles_in_numbers() -> None:
    solution = solve(load_task("needles-8"), 0.05)
    assert solution.objective == pytest.approx(0.799686, abs=1e-6)
    assert solution.reward == pytest.approx(0.9928, abs=5e-5)
    assert solution.kl == pytest.approx(3.863, abs=5e-4)


@pytest.mark.parametrize(("gamma", "share"), [(1.0, 1.0), (0.99, 0.887230), (0.9, 0.710335)])
def test_what_a_discount_costs_on_delay(gamma: float, share: float) -> None:
    task = load_task("delay-32")
    assert solve(task, 0.05).objective == pytest.approx(0.902574, abs=1e-6)
    found = evaluate(task, solve(task, 0.05, gamma).policy, 0.05).objective
    assert found / 0.902574 == pytest.approx(share, abs=2e-6)


def test_prompts_with_tables_of_their_own() -> None:
    random = np.random.default_rng(0)
    moves, logits = random.integers(0, 4, (3, 4, 3)), random.normal(size=(3, 4, 3))
    scores = random.normal(size=(3, 4))
    task = automaton_task(moves, logits, scores, 4, start=[0, 1, 3])
    assert [prompt.tolist() for prompt in task.prompts] == [[0], [1], [2]]
    for i, start in enumerate([0, 1, 3]):
        alone = automaton_task(moves[i], logits[i], scores[i], 4, start=start)
        assert_same(solve(task, 0.3, prompt_index=i), solve(alone, 0.3))
        assert_same(
            solve(task, 0.3, prompt_index=i), solve(as_plain_task(task), 0.3, prompt_index=i)
        )
    with pytest.raises(ValueError, match="has 3 prompts; choose one by prompt_index"):
        solve(task, 0.3)


def test_what_may_see_the_whole_prefix_is_not_mistaken_for_a_function_of_the_state() -> None:
    task = load_task("delay-32", policy="transformer")
    assert evaluate(task, task.reference, 0.05).kl == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match=r"depend on the whole prefix.*rlhf_env\.exact\.regret"):
        evaluate(task, moved_policy(task), 0.05)
    with pytest.raises(ValueError, match="at most 1,000,000 can be enumerated"):
        solve(as_plain_task(task), 0.05)


def test_a_longer_horizon_is_solved_too() -> None:
    task = dataclasses.replace(load_task("chain-8"), max_new_tokens=16)
    assert solve(task, 0.02).objective > solve(load_task("chain-8"), 0.02).objective


def test_prefixes_that_do_not_exist_are_no_keys() -> None:
    solution = solve(random_automaton(0), 0.1)
    assert len(solution.values) == len(solution.policy) == 15
    for prefix in ((0,), (3,), (1, 1, 1, 1)):
        assert prefix not in solution.policy
        with pytest.raises(KeyError):
            solution.values[prefix]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            np.ones((4, 4)),
            r"must be \[S, V\] = \[4, 3\] or \[T, S, V\] = \[4, 4, 3\], got \[4, 4\]",
        ),
        (np.ones((4, 3)), "must hold probabilities that sum to 1"),
    ],
)
def test_arrays_that_are_no_policy_are_refused(policy: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(random_automaton(0), policy, 0.1)
