"""Group advantages turn by turn, by hand, and their bias by enumeration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

import wrappers.vector as vector
from agents import GRPO, RLOO
from agents.algorithms.turn_advantages import rewards_of_turns, turn_advantages, turn_numbers
from agents.gradients import expected_gradient, true_gradient
from agents.math import group_centered, group_deviation, leave_one_out
from agents.settings import RLOOConfig
from rlhf_env.exact import evaluate
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.toys import theta_policy
from tests.wrappers.episodes import TOY15

NEWLINE = 2


def turns_of(response: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The lines of a response, each with the token that ends it."""
    lines: list[tuple[int, ...]] = [()]
    for token in response:
        lines[-1] += (token,)
        if token == NEWLINE:
            lines.append(())
    return [line for line in lines if line]


def episodes(*paid: list[float]) -> Rollout:
    """A group of episodes whose lines are one token and are paid this."""
    width = max(map(len, paid)) + 1
    rewards = torch.zeros(len(paid), width)
    is_action = torch.zeros(len(paid), width, dtype=torch.bool)
    for row, line in enumerate(paid):
        rewards[row, 1 : len(line) + 1] = torch.tensor(line)
        is_action[row, 1 : len(line) + 1] = True
    nothing = torch.zeros_like(rewards)
    return Rollout(
        tokens=torch.full_like(is_action, NEWLINE, dtype=torch.int64),
        is_action=is_action,
        logprobs=nothing,
        ref_logprobs=nothing,
        rewards=rewards,
        reward_terms={"score": rewards, "kl": nothing},
        score=rewards.sum(1),
        terminated=torch.ones(len(paid), dtype=torch.bool),
        group=torch.zeros(len(paid), dtype=torch.int64),
        prompt_index=torch.zeros(len(paid), dtype=torch.int64),
        decision=(is_action.long().cumsum(1) - 1).masked_fill(~is_action, -1),
        ends_turn=is_action,
    )


GROUP = episodes([1.0, 6.0, 5.0], [3.0, 2.0], [5.0])


def test_each_turn_is_compared_with_the_same_turn() -> None:
    # Means 3, 4 and none; the third turn has one episode and is compared with nothing.
    config = RLOOConfig(gradient_form="standard", group_baseline="turn")
    found = turn_advantages(GROUP, config, group_centered, None)
    assert found.tolist() == [[0.0, 2.0, 0.0], [-2.0, -2.0, 0.0], [2.0, 0.0, 0.0]]
    # Of the others alone: 1 − 4, 3 − 3, 5 − 2 and 6 − 2, 2 − 6.
    found = turn_advantages(GROUP, config, leave_one_out, None)
    assert found.tolist() == [[1.0, 4.0, 0.0], [-4.0, -4.0, 0.0], [3.0, 0.0, 0.0]]
    # Deviations 2 and √8.
    found = turn_advantages(GROUP, config, group_centered, group_deviation)
    expected = [[-1 + 0.5**0.5, 0.5**0.5, 0.0], [-(0.5**0.5), -(0.5**0.5), 0.0], [1.0, 0.0, 0.0]]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-3)


def test_discounts_and_forms() -> None:
    per_turn: dict[str, Any] = {"gamma": 0.5, "discount_unit": "turn", "group_baseline": "turn"}
    config = RLOOConfig(gradient_form="standard", **per_turn)
    found = turn_advantages(GROUP, config, group_centered, None)
    assert found.tolist() == [[-1.0, 2.0, 0.0], [-1.0, -2.0, 0.0], [2.0, 0.0, 0.0]]
    found = turn_advantages(GROUP, RLOOConfig(**per_turn), group_centered, None)
    assert found[:2].tolist() == [[-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0]]


def test_settings_that_cannot_be_used(toy15: Task) -> None:
    with pytest.raises(ValueError, match=r"needs gamma=1 or one discount per turn, got 0.9 per de"):
        RLOOConfig(gamma=0.9, group_baseline="turn")
    with pytest.raises(ValueError, match="needs gamma=1 or one discount per turn"):
        RLOOConfig(gamma={"score": 1.0}, discount_unit="turn", group_baseline="turn")
    envs = gym.make_vec("RLHF-v0", num_envs=2, task=toy15)
    with pytest.raises(ValueError, match='group_baseline="turn" needs a task with turns'):
        RLOO(envs, group_baseline="turn")


# -- the bias, by enumeration ----------------------------------------------------------------------
def ones(prompts: list[Tensor], histories: list[Tensor]) -> Tensor:
    """A line is worth one more than its 1s, so that even an empty one is paid."""
    return torch.tensor([1.0 + float((ids == 1).sum()) for ids in histories])


@pytest.fixture
def lines(toy15: Task) -> Task:
    return dataclasses.replace(toy15, end_of_turn_id=NEWLINE, step_scores=ones)


def paid_by_line(response: tuple[int, ...]) -> list[float]:
    """What `ProcessReward` pays the lines of a response, from the scores of `toy15` and `ones`."""
    parts, before, said = [], 0.0, ()
    for line in turns_of(response):
        said += line
        worth = TOY15[response] if said == response else 1.0 + said.count(1)
        parts.append(worth - before)
        before = worth
    return parts


class LineStatistics:
    """P(line j is reached) and E[r_j 1(j)], as functions of the policy's weights, with gradients.

    Nothing of the agents is used: 15 responses by hand, and derivatives by finite differences.
    """

    def __init__(self, task: Task, policy: Any) -> None:
        self.task, self.policy = task, policy

    def numbers(self) -> Tensor:
        """[2, 3]: the probabilities, and the expected rewards."""
        model = self.policy
        chance: dict[tuple[int, ...], Tensor] = {}

        def probabilities(prefix: tuple[int, ...]) -> Tensor:
            if prefix not in chance:
                prompt = self.task.prompts[0]
                ids = torch.cat([prompt, torch.tensor(prefix, dtype=torch.int64)])[None]
                with torch.no_grad():
                    chance[prefix] = model(input_ids=ids).logits[0, -1, :3].double().softmax(0)
            return chance[prefix]

        found = torch.zeros(2, 3, dtype=torch.float64)
        for response in TOY15:
            p = 1.0
            for t, token in enumerate(response):
                p *= float(probabilities(response[:t])[token])
            for j, reward in enumerate(paid_by_line(response)):
                found[0, j] += p
                found[1, j] += p * reward
        return found

    def gradients(self, step: float = 1e-5) -> Tensor:
        """[2, 3, P] by central differences."""
        model = self.policy.double()
        weights = [w for w in model.parameters() if w.requires_grad]
        columns = []
        for weight in weights:
            flat = weight.data.view(-1)
            for at in range(len(flat)):
                kept = float(flat[at])
                flat[at] = kept + step
                above = self.numbers()
                flat[at] = kept - step
                columns.append((above - self.numbers()) / (2 * step))
                flat[at] = kept
        return torch.stack(columns, dim=-1)


def own_share_taken_off(p: Tensor, size: int) -> Tensor:
    """E[1 − 1/n], n being the episodes of a group that reach a line, one of them for sure."""
    return 1 - (1 - (1 - p) ** size) / (size * p)


def others_reach_it(p: Tensor, size: int) -> Tensor:
    """P(another episode of the group reaches a line)."""
    return 1 - (1 - p) ** (size - 1)


@pytest.mark.parametrize(
    ("kind", "more", "share"),
    [(RLOO, {}, others_reach_it), (GRPO, {"scale_by_std": False}, own_share_taken_off)],
)
@pytest.mark.parametrize("size", [2, 4])
def test_the_expected_gradient_is_the_closed_form(
    lines: Task, kind: Any, more: dict[str, Any], share: Callable[..., Tensor], size: int
) -> None:
    """Σ_j share_j p_j ∇E[r_j | line j is reached], where the truth is Σ_j ∇E[r_j 1(j)].

    The true gradient of P(line j is reached) is gone: a baseline that only episodes that went on
    have takes it away.
    """
    envs = vector.ProcessReward(gym.make_vec("RLHF-v0", num_envs=2, task=lines, kl_coef=0.0))
    agent = kind(
        envs,
        policy=theta_policy(lines),
        group_size=size,
        episodes_per_update=size,
        group_baseline="turn",
        gradient_form="standard",
        aggregation="sum",
        **more,
    )
    report = expected_gradient(agent)
    assert report.exact
    statistics = LineStatistics(lines, theta_policy(lines))
    (p, paid), slopes = statistics.numbers(), statistics.gradients()
    mean_slope = (slopes[1] - (paid / p)[:, None] * slopes[0]) / p[:, None]
    weight = share(p, size) * p
    expected = (weight[:, None] * mean_slope).sum(0)
    assert torch.allclose(report.mean, expected, atol=1e-6)
    truth = true_gradient(lines, theta_policy(lines), kl_coef=0.0)
    assert torch.allclose(slopes[1].sum(0), truth, atol=1e-6)
    assert report.bias > 0.05


def test_in_large_groups_every_further_turn_costs_its_mean(lines: Task) -> None:
    """The bias tends to −Σ_{j ≥ 1} E[r_j | j] ∇P(j): the accumulated mean of verl#7244."""
    statistics = LineStatistics(lines, theta_policy(lines))
    (p, paid), slopes = statistics.numbers(), statistics.gradients()
    mean_slope = (slopes[1] - (paid / p)[:, None] * slopes[0]) / p[:, None]
    limit = -((paid / p)[1:, None] * slopes[0][1:]).sum(0)
    truth = slopes[1].sum(0)
    for size, tolerance in ((8, 1.0), (64, 0.2), (4096, 0.005)):
        bias = ((others_reach_it(p, size) * p)[:, None] * mean_slope).sum(0) - truth
        assert float((bias - limit).norm() / limit.norm()) < tolerance


def test_whole_episodes_are_compared_without_bias(lines: Task) -> None:
    envs = vector.ProcessReward(gym.make_vec("RLHF-v0", num_envs=2, task=lines, kl_coef=0.0))
    agent = RLOO(
        envs,
        policy=theta_policy(lines),
        group_size=2,
        episodes_per_update=2,
        gradient_form="standard",
        aggregation="sum",
    )
    assert expected_gradient(agent).bias < 1e-6


def test_the_numbers_of_lines_and_what_they_are_paid() -> None:
    turn = turn_numbers(GROUP)
    assert turn[:, 1:].tolist() == [[0, 1, 2], [0, 1, -1], [0, -1, -1]]
    rewards, reached = rewards_of_turns(GROUP, turn)
    assert rewards.tolist() == [[1.0, 6.0, 5.0], [3.0, 2.0, 0.0], [5.0, 0.0, 0.0]]
    assert reached.sum(0).tolist() == [3, 2, 1]


def test_what_lines_are_paid_is_what_a_policy_is_worth(lines: Task) -> None:
    """The statistics of this file against the exact solver."""
    statistics = LineStatistics(lines, theta_policy(lines)).numbers()
    worth = evaluate(lines, theta_policy(lines), 0.0).objective
    assert float(statistics[1].sum()) == pytest.approx(worth, abs=1e-6)
