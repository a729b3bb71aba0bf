"""PPO (arXiv:1707.06347) for language models in one file, without `agents`.

The structure is that of CleanRL's ppo.py: step all rows, estimate advantages backwards, take
clipped steps. Two things belong to RLHF: the policy begins as a copy of the reference model, and
it adds its own half of the KL penalty to the reward, since the environment does not know its
log-probabilities. Run it with

    python examples/ppo_one_file.py
    python examples/ppo_one_file.py --episodes 320 --seed 3
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn
from torch.distributions import Categorical

import rlhf_env
from rlhf_env import exact


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a run; the defaults suit toy15."""

    task: str = "toy15"
    episodes: int = 3200
    rows: int = 32
    steps: int = 3
    """Tokens of each row in one rollout."""
    learning_rate: float = 0.02
    gamma: float = 1.0
    gae_lambda: float = 0.95
    epochs: int = 4
    minibatches: int = 4
    clip_range: float = 0.2
    value_coef: float = 0.5
    max_grad_norm: float = 1.0
    seed: int = 0


class ActorCritic(nn.Module):
    """A causal language model with a value head on its last hidden state."""

    def __init__(self, reference: Any) -> None:
        """Copy the reference; the value head starts at zero."""
        super().__init__()
        self.model = copy.deepcopy(reference).requires_grad_(True)
        self.value_head = nn.Linear(self.model.config.hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, observation: dict[str, Tensor]) -> tuple[Categorical, Tensor]:
        """Return the distribution of the next token and the value, [B], of each text [B, L]."""
        # Texts are padded on the right, so a causal model never sees the padding.
        hidden = self.model.base_model(input_ids=observation["input_ids"]).last_hidden_state
        last = observation["attention_mask"].sum(dim=1).long() - 1
        hidden = hidden[torch.arange(len(last)), last]
        logits = self.model.get_output_embeddings()(hidden)
        return Categorical(logits=logits), self.value_head(hidden).squeeze(-1)


def as_tensors(observation: dict[str, Any]) -> dict[str, Tensor]:
    """Return an observation of NumPy arrays as tensors."""
    return {name: torch.as_tensor(array) for name, array in observation.items()}


def generalized_advantages(
    rewards: Tensor, values: Tensor, ends: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Return GAE (arXiv:1506.02438), [T, N], from ``rewards`` and ``ends`` [T, N].

    ``values`` is [T + 1, N]: its last row is of the observations after the last step.
    """
    advantages, following = torch.zeros_like(rewards), torch.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - ends[t]
        delta = rewards[t] + gamma * goes_on * values[t + 1] - values[t]
        following = delta + gamma * gae_lambda * goes_on * following
        advantages[t] = following
    return advantages


def train(envs: Any, agent: ActorCritic, settings: Settings) -> None:
    """Alternate between stepping the environment and clipped steps on what was seen."""
    kl_coef = envs.unwrapped.kl_coef
    optimizer = torch.optim.Adam(agent.parameters(), lr=settings.learning_rate, eps=1e-5)
    observation = as_tensors(envs.reset(seed=settings.seed)[0])
    finished = 0
    while finished < settings.episodes:
        # Collect: T steps of N rows. A row whose episode ends begins the next one at once.
        steps: list[dict[str, Tensor]] = []
        for _ in range(settings.steps):
            with torch.no_grad():
                distribution, value = agent(observation)
            action = distribution.sample()
            logprob = distribution.log_prob(action)
            seen = observation
            observation, reward, terminated, truncated, _ = envs.step(action.numpy())
            observation = as_tensors(observation)
            # The environment paid score + kl_coef · log π_ref; −kl_coef · log π completes it.
            reward = torch.as_tensor(reward).float() - kl_coef * logprob
            end = torch.as_tensor(terminated | truncated).float()
            finished += int(end.sum())
            steps.append(
                {**seen, "action": action, "logprob": logprob, "value": value}
                | {"reward": reward, "end": end}
            )
        rollout = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}

        with torch.no_grad():
            values = torch.cat([rollout["value"], agent(observation)[1][None]])
        rollout["advantage"] = generalized_advantages(
            rollout["reward"], values, rollout["end"], settings.gamma, settings.gae_lambda
        )
        rollout["return"] = rollout["advantage"] + rollout["value"]

        # Learn: several passes over all steps, in minibatches.
        batch = {name: tensor.flatten(0, 1) for name, tensor in rollout.items()}
        for _ in range(settings.epochs):
            for rows in torch.randperm(len(batch["action"])).chunk(settings.minibatches):
                loss = ppo_loss(agent, {k: v[rows] for k, v in batch.items()}, settings)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), settings.max_grad_norm)
                optimizer.step()


def ppo_loss(agent: ActorCritic, batch: dict[str, Tensor], settings: Settings) -> Tensor:
    """Return the clipped surrogate and the critic's squared error on some steps."""
    distribution, value = agent(batch)
    ratio = (distribution.log_prob(batch["action"]) - batch["logprob"]).exp()
    advantage = batch["advantage"]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    surrogate = torch.minimum(ratio * advantage, clipped * advantage).mean()
    critic = 0.5 * (value - batch["return"]).square().mean()
    return settings.value_coef * critic - surrogate


def main(settings: Settings) -> float:
    """Train, and return J / J*: the policy's exact objective as a share of the optimum's."""
    torch.manual_seed(settings.seed)
    task = rlhf_env.load_task(settings.task)
    envs = gym.make_vec(
        "RLHF-v0", num_envs=settings.rows, task=task, autoreset_mode=AutoresetMode.SAME_STEP
    )
    agent = ActorCritic(task.reference)
    train(envs, agent, settings)
    reached = exact.evaluate(task, agent.model, task.kl_coef).objective
    optimum = exact.solve(task, task.kl_coef).objective
    print(f"J = {reached:.4f}, J* = {optimum:.4f}, J / J* = {reached / optimum:.4f}")
    return reached / optimum


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default=Settings.task)
    parser.add_argument("--episodes", type=int, default=Settings.episodes)
    parser.add_argument("--learning-rate", type=float, default=Settings.learning_rate)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    main(Settings(**vars(parser.parse_args())))
