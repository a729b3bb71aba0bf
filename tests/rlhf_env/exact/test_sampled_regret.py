from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from agents import Policy, collect
from agents.training.lora import adapted
from rlhf_env.exact import episode_regrets, evaluate, regret, solve
from rlhf_env.exact.enumerated import enumerate_task, model_logprobs
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import automaton_task, load_task
from tests.agents.episodes import make_envs
from tests.automata import as_plain_task, moved_policy, random_automaton
from tests.toys import theta_policy

BETA = 0.2


def lora_policy(task: Task, seed: int) -> nn.Module:
    policy = adapted(task.reference, rank=4, alpha=8, seed=seed)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return policy


def policies(seed: int = 0) -> dict[str, tuple[Task, nn.Module]]:
    made: dict[str, tuple[Task, nn.Module]] = {}
    for kind in ("table", "timed_table", "transformer"):
        task = random_automaton(seed, policy=kind)
        # Moved further, a transformer all but always gives the same response.
        size = 0.2 if kind == "transformer" else 0.5
        made[kind] = task, moved_policy(task, seed, size)
    task = random_automaton(seed, policy="transformer")
    return made | {"lora": (task, lora_policy(task, seed))}


def every_episode(task: Task, model: nn.Module) -> tuple[Rollout, torch.Tensor]:
    """All responses as one rollout, and how likely a model is to give each."""
    tree = enumerate_task(as_plain_task(task), None)
    by_state = dict(zip(tree.states, model_logprobs(tree, model), strict=True))
    texts = [(*state, 0) for state in tree.states] + [tuple(r) for r in tree.tokens[-1].tolist()]
    logprob = [sum(by_state[text[:t]][text[t]] for t in range(len(text))) for text in texts]
    tokens = pad_sequence([torch.tensor([0, *text]) for text in texts], True)
    lengths = torch.tensor([len(text) for text in texts])
    is_action = (torch.arange(tokens.shape[1]) > 0) & (
        torch.arange(tokens.shape[1]) <= lengths[:, None]
    )
    zeros = torch.zeros(tokens.shape)
    rollout = Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=zeros,
        ref_logprobs=zeros,
        rewards=zeros,
        reward_terms={},
        score=zeros[:, 0],
        terminated=torch.ones(len(tokens), dtype=torch.bool),
        group=torch.arange(len(tokens)),
        prompt_index=torch.zeros(len(tokens), dtype=torch.int64),
        decision=torch.zeros_like(tokens),
    )
    return rollout, torch.tensor(np.array(logprob)).exp()


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("kind", ["table", "timed_table", "transformer", "lora"])
def test_over_all_episodes_it_is_exact(kind: str, gamma: float) -> None:
    task, model = policies()[kind]
    rollout, weights = every_episode(task, model)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-6)
    mean = (weights * episode_regrets(task, rollout, model, BETA, gamma)).sum().item()
    best = solve(task, BETA, gamma).objective
    expected = best - evaluate(as_plain_task(task), model, BETA, gamma).objective
    assert expected > 1e-3
    assert mean == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["table", "timed_table", "transformer", "lora"])
def test_on_sampled_episodes_it_agrees_within_its_interval(kind: str) -> None:
    """20 random policies in all; one of 20 intervals of three errors may not miss."""
    for seed in range(5):
        task, model = policies(seed)[kind]
        policy = Policy(model, task.vocab_size)
        rollout = collect(make_envs(task, 64), policy, 512, seed=seed)
        mean, error = regret(task, rollout, policy, BETA)
        best = solve(task, BETA).objective
        expected = best - evaluate(as_plain_task(task), model, BETA).objective
        assert 0 < error < expected
        assert abs(mean - expected) < 3.5 * error


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "timed_table", "transformer", "lora"])
def test_its_interval_of_95_percent_holds_the_truth_that_often(kind: str) -> None:
    """Of 20 policies; fewer than 16 would have a probability of 0.003.

    With 512 episodes it is 0.87 of 60 transformers: their regrets are skewed.
    """
    held = 0
    for seed in range(100, 120):
        task, model = policies(seed)[kind]
        policy = Policy(model, task.vocab_size)
        rollout = collect(make_envs(task, 64), policy, 2048, seed=seed)
        mean, error = regret(task, rollout, policy, BETA)
        best = solve(task, BETA).objective
        expected = best - evaluate(as_plain_task(task), model, BETA).objective
        held += abs(mean - expected) < 1.96 * error
    assert held >= 16, held


def test_all_forms_of_a_policy_give_the_same() -> None:
    task, model = policies()["timed_table"]
    policy = Policy(model, task.vocab_size)
    rollout = collect(make_envs(task, 16), policy, 64, seed=0)
    expected = episode_regrets(task, rollout, model, BETA)
    tree = enumerate_task(as_plain_task(task), None)
    table = dict(zip(tree.states, np.exp(model_logprobs(tree, model)).tolist(), strict=True))
    forms: list[Any] = [policy, table, table.__getitem__]
    array = model.state_logits().double().softmax(-1).detach()  # type: ignore[operator]
    for form in [*forms, array, array.numpy()]:
        found = episode_regrets(task, rollout, form, BETA)
        assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(episode_regrets(as_plain_task(task), rollout, model, BETA), expected)


def test_the_optimum_has_none() -> None:
    task = load_task("delay-32")
    rollout = collect(make_envs(task, 16), Policy(task.reference, 8), 32, seed=0)
    assert regret(task, rollout, solve(task, 0.05).policy, 0.05) == (0.0, 0.0)
    assert regret(task, rollout, task.reference, 0.05)[0] > 0.1


def test_prompts_have_optima_of_their_own() -> None:
    random = np.random.default_rng(0)
    task = automaton_task(
        random.integers(0, 4, (4, 3)), np.zeros((4, 3)), np.arange(4.0), 3, start=[0, 1, 2]
    )
    rollout = collect(make_envs(task, 8), Policy(task.reference, 3), 600, seed=0)
    mean, error = regret(task, rollout, task.reference, BETA)
    shares = torch.bincount(rollout.prompt_index, minlength=3) / len(rollout)
    gaps = [
        solve(task, BETA, prompt_index=i).objective
        - evaluate(task, task.reference, BETA, prompt_index=i).objective
        for i in range(3)
    ]
    assert abs(mean - float(shares @ torch.tensor(gaps))) < 3.5 * error


def test_enumerated_tasks_have_it_too(toy15: Task) -> None:
    model = theta_policy(toy15)
    rollout = collect(make_envs(toy15, 64), Policy(model, 3), 1024, seed=0)
    mean, error = regret(toy15, rollout, model, 0.5)
    expected = solve(toy15, 0.5).objective - evaluate(toy15, model, 0.5).objective
    assert abs(mean - expected) < 3.5 * error


def test_without_kl_there_is_no_estimate() -> None:
    task = random_automaton(0)
    rollout = collect(make_envs(task, 8), Policy(task.reference, 3), 8, seed=0)
    with pytest.raises(ValueError, match="kl_coef must be a finite number greater than 0, got 0"):
        regret(task, rollout, task.reference, 0.0)


def test_the_name_of_a_task_is_no_task() -> None:
    task = random_automaton(0)
    rollout = collect(make_envs(task, 8), Policy(task.reference, 3), 8, seed=0)
    name: Any = "toy15"
    with pytest.raises(TypeError, match="task must be a Task, got 'toy15'; load it first"):
        regret(name, rollout, task.reference, 0.5)
