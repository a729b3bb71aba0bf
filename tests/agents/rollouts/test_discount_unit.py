"""A discount per turn: what it counts, in returns, advantages and shaping, and who refuses it."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import pytest
import torch

import wrappers
import wrappers.vector as vector
from agents import DPO, GRPO, ILQL, OREO, PCL, PPO, RLOO, TRPO, Reinforce, collect
from agents.math import discount_weights, discounted_returns, gae
from agents.rollouts.decisions import is_decision
from agents.rollouts.discounting import discounted_terms, returns_to_go, turns_ended
from rlhf_env.env import RLHFEnv
from rlhf_env.exact import solve
from rlhf_env.task import Task
from tests.agents.rollouts.test_dialogues import policy_of
from tests.dialogues import COMMA, talk_task
from tests.wrappers.episodes import paid, play

ON = torch.ones(1, 4, dtype=torch.bool)
# Two decisions, the end of a turn, two more: 1 2 | 3 4.
REWARDS = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
PER_TURN = torch.tensor([[1.0, 0.5, 1.0, 1.0]])


@pytest.fixture
def lines(toy15: Task) -> Task:
    return dataclasses.replace(toy15, end_of_turn_id=2)


def test_within_a_turn_nothing_is_discounted() -> None:
    # By hand: 4, 3 + 4, 2 + (3 + 4)/2, 1 + that.
    assert discounted_returns(REWARDS, ON, PER_TURN).tolist() == [[6.5, 5.5, 7.0, 4.0]]
    assert discount_weights(ON, PER_TURN).tolist() == [[1.0, 1.0, 0.5, 0.5]]


def test_advantages_discount_the_next_value_where_a_turn_ends() -> None:
    values = torch.tensor([[1.0, 1.0, 2.0, 4.0]])
    # δ = 1 + 1 − 1, 2 + 2/2 − 1, 3 + 4 − 2, 4 + 8 − 4; A = δ + γ λ A', λ = 1/2.
    found = gae(REWARDS, values, ON, torch.tensor([8.0]), PER_TURN, 0.5)
    assert found.tolist() == [[1 + 0.5 * 4.25, 2 + 0.25 * 9, 5 + 0.5 * 8, 8.0]]


def test_a_cut_line_is_followed_by_the_same_line() -> None:
    """The value after the limit is discounted only where the last token ended a turn."""
    last = torch.tensor([8.0])
    nothing = torch.zeros_like(REWARDS)
    ended = torch.tensor([[1.0, 1.0, 1.0, 0.5]])
    assert gae(nothing, nothing, ON, last, PER_TURN, 1.0)[0, -1] == 8.0
    assert gae(nothing, nothing, ON, last, ended, 1.0)[0, -1] == 4.0


def talk(**fields: Any) -> Any:
    return gym.make_vec("RLHF-v0", num_envs=4, task=talk_task(**fields))


def test_returns_of_conversations_count_turns() -> None:
    envs = talk()
    rollout = collect(envs, policy_of(envs), 8, seed=0)
    assert turns_ended(rollout).sum() > 8
    returns = returns_to_go(rollout, is_decision(rollout), 0.5, unit="turn")
    for row in range(len(rollout)):
        own = rollout.is_action[row]
        ids, rewards = rollout.tokens[row][own], rollout.rewards[row][own]
        turn = (ids == COMMA).long().cumsum(0) - (ids == COMMA).long()
        due = sum(0.5 ** int(k) * float(r) for k, r in zip(turn, rewards, strict=True))
        assert float(returns[row, 0]) == pytest.approx(due, abs=1e-5)


@pytest.mark.parametrize("fast", [True, False])
def test_decoded_and_stepped_episodes_say_where_turns_end(fast: bool) -> None:
    envs = talk()
    rollout = collect(envs, policy_of(envs), 8, seed=0, fast=fast)
    assert rollout.ends_turn is not None
    assert torch.equal(rollout.ends_turn, rollout.is_action & (rollout.tokens == COMMA))
    # The environment says the token too, and ends nothing.
    assert (rollout.ends_turn.sum(1) <= rollout.response_lengths).all()


@pytest.mark.parametrize("kind", [PPO, TRPO, Reinforce, RLOO, GRPO])
def test_where_turns_are_decisions_both_units_are_one(kind: Any) -> None:
    envs = vector.MacroAction(talk(), boundary="turn")
    # Lambda is multiplied by gamma first, which rounds a number and a tensor apart.
    more: dict[str, Any] = {"gae_lambda": 1.0} if kind in (PPO, TRPO) else {}
    grouped: dict[str, Any] = {"group_size": 4} if kind in (RLOO, GRPO) else more
    found = []
    for unit in ("decision", "turn"):
        agent = kind(envs, gamma=0.7, discount_unit=unit, episodes_per_update=8, **grouped)
        agent.learn(8, progress=False)
        found.append(torch.cat([each.detach().flatten() for each in agent.policy.parameters()]))
    assert torch.equal(*found)


@pytest.mark.parametrize("kind", [PPO, TRPO, Reinforce, RLOO, GRPO])
def test_per_turn_is_not_per_token(kind: Any) -> None:
    grouped: dict[str, Any] = {"group_size": 4} if kind in (RLOO, GRPO) else {}
    found = []
    for unit in ("decision", "turn"):
        agent = kind(talk(), gamma=0.7, discount_unit=unit, episodes_per_update=8, **grouped)
        agent.learn(8, progress=False)
        found.append(torch.cat([each.detach().flatten() for each in agent.policy.parameters()]))
    assert not torch.equal(*found)


def test_each_term_has_its_discount_per_turn() -> None:
    envs = talk()
    rollout = collect(envs, policy_of(envs), 4, seed=0)
    score, kl = discounted_terms(rollout, {"score": 1.0, "kl": 0.5}, "turn")
    assert isinstance(score.gamma, torch.Tensor)
    assert isinstance(kl.gamma, torch.Tensor)
    assert (score.gamma == 1.0).all()
    assert kl.gamma.unique().tolist() == [0.5, 1.0]


def test_shaping_per_turn_leaves_the_optimum_per_turn_where_it_is(lines: Task) -> None:
    """The return of every response falls by Phi of the prompt, whatever is said."""
    gamma = 0.5
    env = wrappers.PotentialShaping(RLHFEnv(lines, kl_coef=0.0), gamma, discount_unit="turn")
    # Phi = 0, 1, 0.5, then terminal; the second token ends a line.
    assert paid(env, (1, 2, 0), "shaping") == pytest.approx([1.0, 0.25 - 1.0, -0.5])
    for response in [(1, 2, 0), (2, 2, 1), (0,), (1, 1, 2), (2, 0)]:
        power, total = 1.0, 0.0
        for token, (*_, info) in zip(response, play(env, response), strict=True):
            total += power * info["reward_terms"]["shaping"]
            power *= gamma if token == 2 else 1.0
        assert total == pytest.approx(0.0, abs=1e-9)


def test_a_discount_of_no_turns_is_refused(toy15: Task) -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=2, task=toy15)
    message = 'discount_unit="turn" needs a task'
    for kind in (PPO, TRPO, Reinforce, RLOO, GRPO):
        with pytest.raises(ValueError, match=message):
            kind(envs, gamma=0.9, discount_unit="turn")
    with pytest.raises(ValueError, match=message):
        vector.PotentialShaping(envs, gamma=0.9, discount_unit="turn")
    with pytest.raises(ValueError, match=message):
        solve(toy15, 0.1, 0.9, discount_unit="turn")
    with pytest.raises(ValueError, match="discount_unit must be one of"):
        PPO(envs, discount_unit="line")
    rollout = collect(envs, PPO(envs).policy, 4, seed=0)
    with pytest.raises(ValueError, match='discount_unit="turn" needs episodes of a task'):
        turns_ended(rollout)
    # Of agents that discount by decision alone.
    for off_policy in (DPO, PCL, OREO, ILQL):
        with pytest.raises(ValueError, match="discount_unit"):
            off_policy(talk(), discount_unit="turn")


def test_shaping_with_another_unit_is_said() -> None:
    envs = vector.PotentialShaping(talk(), gamma=0.9, discount_unit="turn")
    with pytest.warns(UserWarning, match=r"gamma = 0.9 per turn, the agent by 0.9 per decision"):
        PPO(envs, gamma=0.9)
    PPO(envs, gamma=0.9, discount_unit="turn")


def test_lines_are_solved_with_a_discount_per_line(lines: Task) -> None:
    """By hand: V(s) = β log Σ π_ref exp(Q/β), Q of 2 discounted."""
    found = solve(lines, 0.5, 0.6, discount_unit="turn")
    per_token = solve(lines, 0.5, 0.6)
    assert found.values[(1, 1)] == pytest.approx(per_token.values[(1, 1)])
    reference = torch.tensor([found.policy[(1,)]]).log()
    q = torch.tensor([1.25, found.values[(1, 1)], 0.6 * found.values[(1, 2)]])
    # pi*(a) exp(−Q/β) is the reference's up to one factor: of two discounts the logits differ.
    plain = solve(lines, 0.5, 1.0)
    base = torch.tensor([plain.policy[(1,)]]).log()
    q_plain = torch.tensor([1.25, plain.values[(1, 1)], plain.values[(1, 2)]])
    difference = (reference - q / 0.5) - (base - q_plain / 0.5)
    assert float(difference.max() - difference.min()) == pytest.approx(0.0, abs=1e-5)
