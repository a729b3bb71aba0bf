"""Values of a critic against the exact ones of "toy15", by resuming episodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import PPO
from agents.critics.check import CriticCheck, check_critic
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy, tiny_llama_task
from wrappers.vector import EveryK, SequenceBandit

# V of the states (), (1), (2), (1,1), (1,2), (2,1), (2,2) under theta with the KL at beta 0.5.
EXACT = [0.113463, 1.556680, -0.605027, 1.906755, 0.878010, 0.906862, -1.078160]
STATES = {(): 0, (1,): 1, (2,): 2, (1, 1): 3, (1, 2): 4, (2, 1): 5, (2, 2): 6}


def toy_agent(values: list[float], wrap: Any = lambda envs: envs) -> PPO:
    task = load_task("toy15")
    envs = wrap(make_envs(task, 64, kl_coef=0.5))
    agent = PPO(envs, policy=theta_policy(task), episodes_per_update=64)
    with torch.no_grad():
        agent.policy.value_head.weight.copy_(torch.tensor([values]))
    return agent


def test_resumed_returns_are_the_exact_values() -> None:
    agent = toy_agent(EXACT)
    rollout = agent.collect()
    check = check_critic(agent, rollout, states=1000, samples=400)
    assert len(check.values) == int(rollout.is_action.sum())
    for row, (episode, decision) in enumerate(
        zip(check.episode.tolist(), check.decision.tolist(), strict=True)
    ):
        prefix = tuple(rollout.responses()[episode][:decision].tolist())
        exact = EXACT[STATES[prefix]]
        assert check.values[row].item() == pytest.approx(exact, abs=1e-5)
        assert abs(check.returns[row].item() - exact) < 5 * check.standard_errors[row].item()
    summary = check.summary()
    assert summary["explained_variance"] > 0.97
    assert summary["correlation"] > 0.98
    assert abs(summary["bias"]) < 0.02
    assert summary["rmse"] < 0.1


def test_a_critic_that_says_nothing_is_found_out() -> None:
    agent = toy_agent([0.0] * 7)
    summary = check_critic(agent, agent.collect(), states=1000, samples=50).summary()
    assert summary["explained_variance"] == 0.0
    assert summary["correlation"] == 0.0
    assert summary["rmse"] > 0.5


def test_nothing_of_the_agent_changes_and_a_seed_gives_one_answer() -> None:
    agent = toy_agent(EXACT)
    before = agent.collect()
    checks = [check_critic(agent, before, states=8, samples=4, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(checks[0].returns, checks[1].returns)
    assert not torch.equal(checks[0].returns, checks[2].returns)
    assert torch.equal(agent.collect().tokens, before.tokens)


@pytest.mark.parametrize("gamma", [0.5, {"score": 0.5, "kl": 0.5}])
def test_the_discount_is_the_agent_s(gamma: Any) -> None:
    task = load_task("toy15")
    envs = make_envs(task, 64, kl_coef=0.5)
    agent = PPO(envs, policy=theta_policy(task), episodes_per_update=64, gamma=gamma)
    check = check_critic(agent, agent.collect(), states=1000, samples=200)
    at_root = check.decision == 0
    # The discounted objective of theta at gamma 0.5.
    assert check.returns[at_root].mean().item() == pytest.approx(0.136071, abs=0.02)


@pytest.mark.parametrize("wrap", [SequenceBandit, lambda envs: EveryK(envs, 1)])
def test_other_granularities_and_densities(wrap: Any) -> None:
    agent = toy_agent([0.0] * 7, wrap)
    check = check_critic(agent, agent.collect(), states=1000, samples=100)
    at_root = check.decision == 0
    assert check.returns[at_root].mean().item() == pytest.approx(0.113463, abs=0.03)


def test_it_runs_on_a_transformer() -> None:
    agent = PPO(make_envs(tiny_llama_task(), 8), episodes_per_update=8)
    check = check_critic(agent, agent.collect(), states=6, samples=3)
    assert check.values.shape == check.returns.shape == (6,)


def test_truncated_episodes_and_stepped_wrappers_are_refused() -> None:
    task = tiny_llama_task()
    agent = PPO(make_envs(task, 8, length_limit="bootstrap"), episodes_per_update=8)
    with pytest.raises(ValueError, match="check_critic needs whole returns"):
        check_critic(agent, agent.collect())
    with pytest.raises(ValueError, match="samples must be"):
        check_critic(agent, agent.collect(), samples=1)


def test_a_summary_by_hand() -> None:
    """Errors 1, -1: variance 1; returns 0, 2: variance 1; noise 0.25 is taken off both."""
    check = CriticCheck(
        values=torch.tensor([1.0, 1.0]),
        returns=torch.tensor([0.0, 2.0]),
        standard_errors=torch.tensor([0.5, 0.5]),
        episode=torch.tensor([0, 1]),
        decision=torch.tensor([0, 0]),
    )
    assert check.summary() == pytest.approx(
        {"bias": 0.0, "rmse": 0.75**0.5, "correlation": 0.0, "explained_variance": 0.0}
    )
