from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlhf_env.exact import Solution, evaluate, solve
from rlhf_env.task import Task
from rlhf_env.tasks import load_task, table_task
from tests.toys import FavoriteTokenReward, theta_policy, tiny_gpt2_task, tiny_llama_task

PRINTED = 1e-6

# beta: objective, reward, KL, root probabilities.
OPTIMA = {
    0.1: (2.583361, 2.999832, 4.164710, (0.000000, 1.000000, 0.000000)),
    0.25: (1.966185, 2.966744, 4.002235, (0.000525, 0.997089, 0.002387)),
    0.5: (1.125295, 2.375837, 2.501086, (0.087267, 0.857236, 0.055497)),
    1.0: (0.499001, 1.052379, 0.553378, (0.391725, 0.426962, 0.181313)),
    2.0: (0.250505, 0.474693, 0.112094, (0.502356, 0.227454, 0.270190)),
}
# State: V*, Q* and pi* at beta 0.5, gamma 1.
TABLES = {
    (): (1.125295, (0.25, 2.157518, 0.151999), (0.087267, 0.857236, 0.055497)),
    (1,): (2.157518, (1.25, 2.419912, 1.085962), (0.056088, 0.931680, 0.012232)),
    (2,): (0.151999, (-0.25, 1.085962, -0.683587), (0.106829, 0.772459, 0.120712)),
    (1, 1): (2.419912, (2.25, 3.00, 1.50), (0.073686, 0.824984, 0.101330)),
    (1, 2): (1.085962, (0.75, 1.50, 0.00), (0.308016, 0.680641, 0.011343)),
    (2, 1): (1.085962, (0.75, 1.50, 0.00), (0.308016, 0.680641, 0.011343)),
    (2, 2): (-0.683587, (-0.75, 0.00, -1.50), (0.104629, 0.761240, 0.134131)),
}
# State: V of the reference for the reward alone, V of theta for reward and KL at beta 0.5.
CRITIC = {
    (): (0.039595, 0.113463),
    (1,): (1.607749, 1.556680),
    (2,): (-0.671151, -0.605027),
    (1, 1): (1.965493, 1.906755),
    (1, 2): (0.898368, 0.878010),
    (2, 1): (0.898368, 0.906862),
    (2, 2): (-1.119406, -1.078160),
}
# beta: KL, proxy, gold, where the gold reward of (1, 1, 1) is −1.
OVER_OPTIMIZATION = {
    8.0: (0.006418, 0.141950, 0.052729),
    4.0: (0.026196, 0.247218, 0.120517),
    2.0: (0.112094, 0.474693, 0.229466),
    1.0: (0.553378, 1.052379, 0.296079),
    0.7: (1.303744, 1.668920, 0.139372),
    0.5: (2.501086, 2.375837, -0.259721),
    0.3: (3.831284, 2.919400, -0.822657),
    0.1: (4.164710, 2.999832, -0.999278),
}


@pytest.mark.parametrize("kl_coef", OPTIMA)
def test_closed_form_optima(toy15: Task, kl_coef: float) -> None:
    objective, reward, kl, root = OPTIMA[kl_coef]
    solution = solve(toy15, kl_coef)
    assert solution.objective == pytest.approx(objective, abs=PRINTED)
    assert solution.reward == pytest.approx(reward, abs=PRINTED)
    assert solution.kl == pytest.approx(kl, abs=PRINTED)
    assert solution.policy[()] == pytest.approx(root, abs=PRINTED)
    assert solution.objective == pytest.approx(solution.reward - kl_coef * solution.kl, abs=1e-12)


def test_soft_bellman_tables(toy15: Task) -> None:
    solution = solve(toy15, 0.5)
    assert list(solution.policy) == list(TABLES)
    for state, (value, q, probabilities) in TABLES.items():
        assert solution.values[state] == pytest.approx(value, abs=PRINTED)
        assert solution.policy[state] == pytest.approx(probabilities, abs=PRINTED)
        logits = torch.tensor([math.cos(1 + len(state) + 2 * v + 3 * sum(state)) for v in range(3)])
        log_ratio = torch.tensor(solution.policy[state]).log() - logits.log_softmax(0)
        implied = solution.values[state] + 0.5 * log_ratio
        assert implied.tolist() == pytest.approx(q, abs=3e-6)


def test_values_of_given_policies(toy15: Task) -> None:
    reference = evaluate(toy15, toy15.reference, 0.0)
    theta = evaluate(toy15, theta_policy(toy15), 0.5)
    for state, (of_reference, of_theta) in CRITIC.items():
        assert reference.values[state] == pytest.approx(of_reference, abs=PRINTED)
        assert theta.values[state] == pytest.approx(of_theta, abs=PRINTED)
    assert (reference.kl, reference.objective) == (0.0, reference.reward)
    assert theta.kl == pytest.approx(0.011466, abs=PRINTED)


@pytest.mark.parametrize("kl_coef", OVER_OPTIMIZATION)
def test_over_optimization_of_a_wrong_reward(toy15: Task, kl_coef: float) -> None:
    kl, proxy, gold = OVER_OPTIMIZATION[kl_coef]
    solution = solve(toy15, kl_coef)
    assert solution.kl == pytest.approx(kl, abs=PRINTED)
    assert solution.reward == pytest.approx(proxy, abs=PRINTED)
    true_task = _toy15_with_gold_reward()
    found = evaluate(true_task, solution.policy, 0.0).reward
    assert found == pytest.approx(gold, abs=PRINTED)


def test_without_kl_the_optimum_is_greedy(toy15: Task) -> None:
    solution = solve(toy15, 0.0)
    assert solution.objective == solution.reward == 3.0
    assert solution.policy[(1, 1)] == (0.0, 1.0, 0.0)
    assert solution.kl == pytest.approx(4.166610, abs=PRINTED)


def test_tied_tokens_share_by_the_reference() -> None:
    logits = [math.log(0.2), math.log(0.3), math.log(0.5)]
    task = table_task(3, 1, lambda prefix: logits, lambda tokens: float(tokens != (2,)))
    assert solve(task, 0.0).policy[()] == pytest.approx((0.4, 0.6, 0.0))


@st.composite
def table_tasks(draw: st.DrawFn) -> Task:
    vocab_size, horizon = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores: dict[tuple[int, ...], float] = {}
    return table_task(
        vocab_size,
        horizon,
        lambda prefix: random.normal(0.0, 2.0, vocab_size).tolist(),
        lambda tokens: scores.setdefault(tokens, float(random.normal())),
    )


COEFFICIENTS = st.floats(0.05, 3.0)
DISCOUNTS = st.floats(0.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(table_tasks(), st.just(0.0) | COEFFICIENTS, DISCOUNTS)
def test_the_solution_is_worth_what_it_says(task: Task, kl_coef: float, gamma: float) -> None:
    solution = solve(task, kl_coef, gamma)
    found = evaluate(task, solution.policy, kl_coef, gamma)
    assert found.objective == pytest.approx(solution.objective, abs=1e-9)
    assert found.values == pytest.approx(solution.values, abs=1e-9)
    assert (found.reward, found.kl) == pytest.approx((solution.reward, solution.kl), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(table_tasks(), COEFFICIENTS, DISCOUNTS, st.integers(0, 2**32 - 1))
def test_no_policy_nearby_is_better(task: Task, kl_coef: float, gamma: float, seed: int) -> None:
    solution = solve(task, kl_coef, gamma)
    random = np.random.default_rng(seed)
    for size in (0.01, 0.3, 3.0):
        worse = evaluate(task, _perturbed(solution, size, random), kl_coef, gamma)
        for state, value in worse.values.items():
            assert value <= solution.values[state] + 1e-9


@pytest.mark.parametrize("make", [tiny_llama_task, tiny_gpt2_task])
def test_language_models_are_enumerated_too(make: Callable[..., Task]) -> None:
    """At gamma 1 the optimum is the tilted distribution of whole responses."""
    task = make(vocab_size=6, horizon=2)
    prompt, kl_coef = task.prompts[2], 0.3
    responses = _responses(task.reference, prompt, [()])
    assert sum(math.exp(logprob) for logprob in responses.values()) == pytest.approx(1.0)
    scores = FavoriteTokenReward()([], [torch.tensor(ids) for ids in responses])
    logprobs = torch.tensor(list(responses.values()), dtype=torch.float64)
    total = (logprobs + scores / kl_coef).logsumexp(0)
    tilted = (logprobs + scores / kl_coef - total).exp()
    solution = solve(task, kl_coef, prompt_index=2)
    assert solution.objective == pytest.approx(kl_coef * total.item(), abs=1e-6)
    assert solution.reward == pytest.approx((tilted * scores).sum().item(), abs=1e-6)
    reference = evaluate(task, task.reference, kl_coef, prompt_index=2)
    assert reference.kl == 0.0
    assert reference.reward == pytest.approx((logprobs.exp() * scores).sum().item(), abs=1e-6)


def test_any_agent_can_be_evaluated(toy15: Task) -> None:
    class Sharpened:
        def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
            logits = toy15.reference(input_ids=tokens).logits
            return (logits[torch.arange(len(tokens)), lengths - 1] / 0.5).softmax(-1)

    def same(prefix: tuple[int, ...]) -> list[float]:
        logits = [math.cos(1 + len(prefix) + 2 * v + 3 * sum(prefix)) for v in range(3)]
        return torch.tensor(logits).div(0.5).softmax(0).tolist()

    agent, function = evaluate(toy15, Sharpened(), 0.5), evaluate(toy15, same, 0.5)
    assert agent.objective == pytest.approx(function.objective, abs=1e-6)
    assert agent.kl == pytest.approx(function.kl, abs=1e-6)


def test_probabilities_of_another_vocabulary_are_refused(toy15: Task) -> None:
    class Wide:
        def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
            return torch.full((len(tokens), 5), 0.2)

    with pytest.raises(ValueError, match=r"for each text, \[7, 3\], got shape \[7, 5\]"):
        evaluate(toy15, Wide(), 0.5)


def test_dropout_is_off_while_evaluating_and_on_again_after() -> None:
    task = tiny_gpt2_task(vocab_size=4, horizon=2, dropout=0.5)
    calm = evaluate(task, task.reference, 0.1, prompt_index=0)
    policy = task.reference.train()
    assert evaluate(task, policy, 0.1, prompt_index=0) == calm
    assert all(module.training for module in policy.modules())


def test_forbidden_tokens_cost_infinitely_much_only_where_they_are_chosen(toy15: Task) -> None:
    with torch.no_grad():
        toy15.reference.lm_head.weight[2, :] = -math.inf
    assert solve(toy15, 0.5).policy[()][2] == 0.0
    assert evaluate(toy15, lambda prefix: (0.5, 0.5, 0.0), 0.5).kl < math.inf
    assert evaluate(toy15, lambda prefix: (0.5, 0.3, 0.2), 0.5).objective == -math.inf


def test_a_state_that_is_never_reached_costs_nothing(toy15: Task) -> None:
    with torch.no_grad():
        toy15.reference.lm_head.weight[2, 1] = -math.inf
    policy = dict.fromkeys(TABLES, (0.5, 0.0, 0.5))
    found = evaluate(toy15, policy, 0.5)
    assert found.values[(1,)] == -math.inf
    assert math.isfinite(found.objective)
    assert math.isfinite(found.kl)


def test_the_greedy_optimum_keeps_to_what_the_reference_allows(toy15: Task) -> None:
    with torch.no_grad():
        toy15.reference.lm_head.weight[1, :] = -math.inf
    solution = solve(toy15, 0.0)
    assert solution.objective == 0.25
    assert solution.policy[()] == (1.0, 0.0, 0.0)


def test_too_many_responses_are_refused_before_any_work() -> None:
    task = tiny_llama_task(vocab_size=32, horizon=64)
    with pytest.raises(ValueError, match="about 1e95 responses, at most 1,000,000"):
        solve(task, 0.1, prompt_index=0)
    with pytest.raises(ValueError, match="about 1e7 responses"):
        evaluate(tiny_llama_task(horizon=5), task.reference, 0.1, prompt_index=0)


def test_the_prompt_must_be_told_among_several() -> None:
    task = tiny_llama_task(vocab_size=4, horizon=1)
    with pytest.raises(ValueError, match="has 3 prompts; choose one by prompt_index"):
        solve(task, 0.1)
    with pytest.raises(ValueError, match=r"prompt_index must be in \[0, 3\), got 3"):
        solve(task, 0.1, prompt_index=3)


@pytest.mark.parametrize("kl_coef", [-0.1, math.inf, math.nan])
def test_bad_kl_coefficients_are_refused(toy15: Task, kl_coef: float) -> None:
    with pytest.raises(ValueError, match="kl_coef must be a finite number >= 0"):
        solve(toy15, kl_coef)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_bad_discounts_are_refused(toy15: Task, gamma: float) -> None:
    with pytest.raises(ValueError, match=r"gamma must be a number in \[0, 1\]"):
        evaluate(toy15, toy15.reference, 0.5, gamma)


def test_what_is_no_policy_is_refused(toy15: Task) -> None:
    with pytest.raises(TypeError, match="policy must be a function of the prefix"):
        evaluate(toy15, 3, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"policy\(\(\)\) must return 3 probabilities"):
        evaluate(toy15, lambda prefix: [0.5, 0.5], 0.5)
    with pytest.raises(ValueError, match=r"after \(\) must be at least 0 and sum to 1"):
        evaluate(toy15, lambda prefix: [0.5, 0.5, 0.5], 0.5)
    with pytest.raises(ValueError, match="at least 0 and sum to 1"):
        evaluate(toy15, lambda prefix: [math.nan, 0.5, 0.5], 0.5)


def _perturbed(
    solution: Solution, size: float, random: np.random.Generator
) -> dict[tuple[int, ...], list[float]]:
    moved = {}
    for state, probabilities in solution.policy.items():
        weights = np.asarray(probabilities) * np.exp(size * random.normal(size=len(probabilities)))
        moved[state] = (weights / weights.sum()).tolist()
    return moved


def _responses(
    model: torch.nn.Module, prompt: Tensor, prefixes: list[tuple[int, ...]]
) -> dict[tuple[int, ...], float]:
    """Log-probability of every response of at most two tokens, one forward pass each."""
    found: dict[tuple[int, ...], float] = {}
    for depth in range(2):
        following = []
        for prefix in prefixes:
            text = torch.cat([prompt, torch.tensor(prefix, dtype=torch.int64)])
            logprobs = model(input_ids=text[None]).logits[0, -1].double().log_softmax(0).tolist()
            for token, logprob in enumerate(logprobs):
                response = (*prefix, token)
                found[response] = found.get(prefix, 0.0) + logprob
                if token != 1 and depth == 0:
                    following.append(response)
        prefixes = following
    return {ids: logprob for ids, logprob in found.items() if len(ids) == 2 or ids == (1,)}


def _toy15_with_gold_reward() -> Task:
    def gold(tokens: tuple[int, ...]) -> float:
        if tokens == (1, 1, 1):
            return -1.0
        return tokens.count(1) - 0.5 * tokens.count(2) + 0.25 * (tokens[-1] == 0)

    def logits(prefix: tuple[int, ...]) -> list[float]:
        return [math.cos(1 + len(prefix) + 2 * v + 3 * sum(prefix)) for v in range(3)]

    return table_task(3, 3, logits, gold)


@pytest.mark.parametrize("name", ["toy15", "delay-3"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": None}, r"gamma must be a number in \[0, 1\], got None"),
        ({"kl_coef": "0.1"}, "kl_coef must be a finite number >= 0, got '0.1'"),
        ({"prompt_index": "0"}, "prompt_index must be an integer >= 0, got '0'"),
        ({"prompt_index": 0.0}, "prompt_index must be an integer >= 0, got 0.0"),
        ({"prompt_index": True}, "prompt_index must be an integer >= 0, got True"),
        ({"prompt_index": 1}, r"prompt_index must be in \[0, 1\), got 1"),
    ],
)
def test_arguments_of_other_kinds(name: str, arguments: dict[str, Any], message: str) -> None:
    task = load_task(name)
    given: Any = {"kl_coef": 0.1, **arguments}
    with pytest.raises(ValueError, match=message):
        solve(task, **given)
    with pytest.raises(ValueError, match=message):
        evaluate(task, lambda prefix: [1 / task.vocab_size] * task.vocab_size, **given)


@pytest.mark.parametrize("name", ["toy15", "delay-3"])
def test_a_mapping_that_lacks_a_prefix(name: str) -> None:
    with pytest.raises(ValueError, match=r"after every prefix, got none for \(\)"):
        evaluate(load_task(name), {}, kl_coef=0.1)


def test_the_name_of_a_task_is_no_task() -> None:
    name: Any = "toy15"
    with pytest.raises(TypeError, match=r"got 'toy15'; load it .*load_task\('toy15'\)"):
        solve(name, 0.5)
    with pytest.raises(TypeError, match="task must be a Task, got 3"):
        solve(cast(Any, 3), 0.5)
    with pytest.raises(TypeError, match="task must be a Task, got 'toy15'"):
        evaluate(name, theta_policy, 0.5)
