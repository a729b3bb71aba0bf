"""A loop as in CleanRL's ppo.py, on the environment's own vector form and on Gymnasium's."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import Tensor
from torch.distributions import Categorical

from rlhf_env.task import Task
from tests.clients.toy15_net import BETA, BONUS_OPTIMUM, ActorCritic, objective

ROWS, STEPS, UPDATES, EPOCHS = 16, 12, 20, 4


def own_rows(task: Task) -> Any:
    return gym.make_vec(
        "RLHF-v0", ROWS, task=task, kl_coef=BETA, autoreset_mode=AutoresetMode.SAME_STEP
    )


def gymnasium_rows(task: Task) -> Any:
    rows = [lambda: gym.make("RLHF-v0", task=task, kl_coef=BETA) for _ in range(ROWS)]
    return SyncVectorEnv(rows, autoreset_mode=AutoresetMode.SAME_STEP)


def advantages_of(rewards: Tensor, values: Tensor, ends: Tensor, gae_lambda: float) -> Tensor:
    """[T, N]; ``values`` has a row more, of the observations after the last step."""
    found, last = torch.zeros_like(rewards), torch.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - ends[t]
        delta = rewards[t] + values[t + 1] * goes_on - values[t]
        found[t] = last = delta + gae_lambda * goes_on * last
    return found


class Loop:
    """What the script keeps between updates."""

    def __init__(self, envs: Any) -> None:
        self.envs, self.net = RecordEpisodeStatistics(envs), ActorCritic()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01, eps=1e-5)
        self.observation, _ = self.envs.reset(seed=0)
        self.returns: list[float] = []

    def step(self) -> tuple[Any, ...]:
        """Observation, action, log-probability, value, reward and end of every row."""
        seen = self.observation
        with torch.no_grad():
            logits, value = self.net(seen)
        choice = Categorical(logits=logits)
        action = choice.sample()
        self.observation, reward, ended, truncated, info = self.envs.step(action.numpy())
        assert not truncated.any()
        if "episode" in info:
            self.returns.extend(info["episode"]["r"][info["_episode"]].tolist())
        paid, ends = (torch.as_tensor(column).float() for column in (reward, ended))
        return seen, action, choice.log_prob(action), value, paid, ends

    def update(self) -> None:
        """Collect a batch and learn from it."""
        seen, *columns = zip(*(self.step() for _ in range(STEPS)), strict=True)
        actions, logprobs, values, rewards, ends = (torch.stack(column) for column in columns)
        with torch.no_grad():
            following = torch.cat([values, self.net(self.observation)[1][None]])
        advantages = advantages_of(rewards, following, ends, 0.95)
        batch = {name: np.concatenate([row[name] for row in seen]) for name in seen[0]}
        numbers = (actions, logprobs, advantages, advantages + values)
        for _ in range(EPOCHS):
            self.optimizer.zero_grad()
            self.loss(batch, *(column.flatten() for column in numbers)).backward()
            self.optimizer.step()

    def loss(
        self, batch: Any, actions: Tensor, logprobs: Tensor, advantages: Tensor, targets: Tensor
    ) -> Tensor:
        logits, value = self.net(batch)
        choice = Categorical(logits=logits)
        ratio = (choice.log_prob(actions) - logprobs).exp()
        surrogate = torch.minimum(advantages * ratio, advantages * ratio.clamp(0.8, 1.2))
        bonus = BETA * choice.entropy().mean()
        return 0.5 * (value - targets).square().mean() - surrogate.mean() - bonus


@pytest.mark.parametrize("make", [own_rows, gymnasium_rows])
def test_a_plain_loop_learns(make: Any, toy15: Task) -> None:
    torch.manual_seed(0)
    loop = Loop(make(toy15))
    for _ in range(UPDATES):
        loop.update()
    reached = objective(toy15, lambda one: loop.net(one)[0].softmax(-1))
    assert 0.9 < reached < BONUS_OPTIMUM + 0.02
    assert np.mean(loop.returns[-200:]) > np.mean(loop.returns[:200]) + 0.5
