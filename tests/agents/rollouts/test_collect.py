"""Rollouts: decoding and stepping are two ways to the same episodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.vector import VectorEnv

from agents import Policy, collect
from agents.rollouts.decisions import sum_per_decision
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy, tiny_gpt2, tiny_gpt2_task, tiny_llama, tiny_llama_task
from wrappers.vector import EveryK, MacroAction, PotentialShaping, SequenceBandit

TASKS: dict[str, Callable[[], Task]] = {
    "toy15": lambda: load_task("toy15"),
    "llama": tiny_llama_task,
    "gpt2": tiny_gpt2_task,
}


def other_policy(task: Task, temperature: float = 1.0) -> Policy:
    """A policy that is not the reference."""
    if task.name == "toy15":
        return Policy(theta_policy(task), 3, temperature)
    model = tiny_llama(seed=1) if "llama" in task.name else tiny_gpt2(seed=1)
    return Policy(model, 32, temperature)


def both_ways(envs: VectorEnv[Any, Any, Any], episodes: int = 12, **arguments: Any) -> Rollout:
    """Collect fast and stepped, compare everything token by token, and return the stepped one."""
    policy = other_policy(envs.unwrapped.task, arguments.pop("temperature", 1.0))
    fast = collect(envs, policy, episodes, seed=3, **arguments)
    stepped = collect(envs, policy, episodes, seed=3, fast=False, **arguments)
    assert_same_episodes(fast, stepped)
    for name in ("logprobs", "ref_logprobs", "rewards"):
        assert_close(getattr(fast, name), getattr(stepped, name))
    assert fast.reward_terms.keys() == stepped.reward_terms.keys()
    for name, term in fast.reward_terms.items():
        assert_close(term, stepped.reward_terms[name])
    return stepped


def assert_same_episodes(fast: Rollout, stepped: Rollout) -> None:
    for name in ("tokens", "is_action", "decision", "group", "prompt_index", "terminated"):
        assert torch.equal(getattr(fast, name), getattr(stepped, name)), name
    assert_close(fast.score, stepped.score)


def assert_close(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.dtype == right.dtype == torch.float32
    assert torch.allclose(left, right, atol=1e-4)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("num_envs", [3, 20])
def test_with_fewer_and_more_rows_than_episodes(name: str, num_envs: int) -> None:
    rollout = both_ways(make_envs(TASKS[name](), num_envs))
    assert len(rollout) == 12
    assert len(rollout.response_lengths.unique()) > 1


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("name", TASKS)
def test_in_every_autoreset_mode(name: str, mode: str) -> None:
    """Traps C7 and C8: no step of a reset, and the last observation is the episode's own."""
    both_ways(make_envs(TASKS[name](), 5, autoreset_mode=mode))


@pytest.mark.parametrize("name", ["toy15", "gpt2"])
@pytest.mark.parametrize(
    "options",
    [
        {"kl_penalty": "sampled"},
        {"length_limit": "bootstrap"},
        {"length_limit": "penalize", "missing_eos_penalty": 2.0},
        {"tensors": "torch", "autoreset_mode": "SameStep"},
        {"kl_coef": 0.0},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_under_other_options(name: str, options: dict[str, Any]) -> None:
    rollout = both_ways(make_envs(TASKS[name](), 5, **options))
    has_eos = rollout.tokens[rollout.last_action] == TASKS[name]().eos_id
    if options.get("length_limit") == "bootstrap":
        assert torch.equal(rollout.terminated, has_eos)
        assert not rollout.terminated.all()
    else:
        assert rollout.terminated.all()


def test_groups_share_a_prompt() -> None:
    rollout = both_ways(make_envs(tiny_llama_task(), 5), group_size=4)
    assert rollout.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for start in (0, 4, 8):
        assert len(rollout.prompt_index[start : start + 4].unique()) == 1
        assert len(rollout.tokens[start : start + 4].unique(dim=0)) > 1


def test_at_another_temperature() -> None:
    """Trap A1: policy and reference are both divided by it."""
    task = tiny_gpt2_task()
    rollout = both_ways(make_envs(task, 5, kl_penalty="sampled"), temperature=0.7)
    reference = Policy(task.reference, 32, 0.7).evaluate_episodes(rollout.tokens, rollout.is_action)
    assert_close(rollout.ref_logprobs, reference.logprobs)
    kl = 0.1 * (rollout.ref_logprobs - rollout.logprobs)
    assert_close(rollout.reward_terms["kl"], kl)


def test_foreign_prompts() -> None:
    prompts = [torch.tensor([4, 5, 6]), torch.tensor([7])]
    rollout = both_ways(make_envs(tiny_gpt2_task(), 5), episodes=4, prompts=prompts)
    assert [p.tolist() for p in rollout.prompts()] == [[4, 5, 6], [7], [4, 5, 6], [7]]
    assert rollout.prompt_index.tolist() == [-1] * 4


@pytest.mark.parametrize("prompt", [[], [2] * 6])
def test_a_prompt_that_does_not_fit_is_refused(prompt: list[int]) -> None:
    envs = make_envs(tiny_gpt2_task())
    policy = other_policy(envs.task)
    with pytest.raises(ValueError, match=f"hold 1 to 5 tokens.*got one of {len(prompt)}"):
        collect(envs, policy, 1, prompts=[torch.tensor(prompt, dtype=torch.int64)])


@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
@pytest.mark.parametrize("name", ["toy15", "llama"])
@pytest.mark.parametrize("wrap", [lambda e: EveryK(e, 2), lambda e: PotentialShaping(e, 0.9)])
def test_under_another_reward_density(
    name: str, wrap: Callable[[Any], Any], kl_penalty: str
) -> None:
    both_ways(wrap(make_envs(TASKS[name](), 5, kl_penalty=kl_penalty)))


@pytest.mark.parametrize(
    ("mode", "kl_penalty"),
    [("NextStep", "reference"), ("SameStep", "sampled"), ("Disabled", "reference")],
)
@pytest.mark.parametrize("name", ["toy15", "gpt2"])
@pytest.mark.parametrize("wrap", [SequenceBandit, lambda e: MacroAction(e, 2)])
def test_under_another_granularity(
    name: str, wrap: Callable[[Any], Any], mode: str, kl_penalty: str
) -> None:
    """Stepping pays a decision at its last token, so sums over decisions are compared."""
    envs = wrap(make_envs(TASKS[name](), 5, autoreset_mode=mode, kl_penalty=kl_penalty))
    policy = other_policy(envs.unwrapped.task)
    fast = collect(envs, policy, 12, seed=3)
    stepped = collect(envs, policy, 12, seed=3, fast=False)
    assert_same_episodes(fast, stepped)
    assert_close(fast.logprobs, stepped.logprobs)
    pairs = [
        (getattr(fast, name), getattr(stepped, name)) for name in ("ref_logprobs", "rewards")
    ] + [(term, stepped.reward_terms[name]) for name, term in fast.reward_terms.items()]
    for left, right in pairs:
        assert_close(sum_per_decision(left, fast), sum_per_decision(right, stepped))


def test_a_rollout_does_not_depend_on_what_was_done_before() -> None:
    envs = make_envs(tiny_gpt2_task(), 5)
    policy = other_policy(envs.task)
    first = collect(envs, policy, 8, seed=5)
    for seed in (1, 2):
        collect(envs, policy, 7, seed=seed, fast=seed == 1)
    envs.mdp.temperature = 0.3
    again = collect(envs, policy, 8, seed=5)
    for name in ("tokens", "logprobs", "ref_logprobs", "rewards"):
        assert torch.equal(getattr(first, name), getattr(again, name))


def test_dropout_that_somebody_switched_on_is_off() -> None:
    """Trap A4."""
    task = tiny_gpt2_task(dropout=0.1)
    envs = make_envs(task, 5)
    model = tiny_gpt2(seed=1, dropout=0.1)
    policy = Policy(model, 32)
    clean = collect(envs, policy, 8, seed=5)
    model.train()
    assert torch.equal(collect(envs, policy, 8, seed=5).logprobs, clean.logprobs)


@pytest.mark.parametrize("fast", [True, False])
def test_short_responses_are_not_favored(fast: bool) -> None:
    """Refilled rows finish what they begin, so lengths follow the policy's own distribution."""
    task = load_task("toy15")
    count = 6000 if fast else 1200
    rollout = collect(make_envs(task, 16), Policy(task.reference, 3), count, seed=0, fast=fast)
    # P(length 1, 2, 3) under the reference.
    exact = reference_lengths(task)
    assert exact[0] == pytest.approx(0.502483, abs=1e-6)
    for length, probability in enumerate(exact, start=1):
        share = (rollout.response_lengths == length).double().mean().item()
        error = math.sqrt(probability * (1 - probability) / count)
        assert share == pytest.approx(probability, abs=4 * error)


def reference_lengths(task: Task) -> list[float]:
    table = next(task.reference.parameters()).double().softmax(dim=0)
    first, second = table[0, 0], table[1, 0] * table[0, 1] + table[2, 0] * table[0, 2]
    return [float(first), float(second), float(1 - first - second)]


def test_kl_estimates_are_not_negative_in_the_mean() -> None:
    """Trap A3: pure sampling, so the mean of k1 is a KL up to noise."""
    task = tiny_gpt2_task()
    rollout = collect(make_envs(task, 32), other_policy(task), 256, seed=0)
    k1 = (rollout.logprobs - rollout.ref_logprobs).sum(dim=1)
    assert k1.mean() > 4 * k1.std() / 16 > 0


def test_what_is_no_environment_of_this_project_is_refused() -> None:
    policy = other_policy(load_task("toy15"))
    foreign = gym.make_vec("CartPole-v1", num_envs=1)
    with pytest.raises(ValueError, match="envs must be a vector environment of RLHF-v0, got"):
        collect(foreign, policy, 2)
    with pytest.raises(ValueError, match="group_size must divide episodes = 5, got 2"):
        collect(make_envs(load_task("toy15")), policy, 5, group_size=2)
    with pytest.raises(ValueError, match="episodes must be an integer >= 1, got 0"):
        collect(make_envs(load_task("toy15")), policy, 0)
