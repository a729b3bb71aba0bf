"""GRPO (arXiv:2402.03300) for language models in one file, without `agents`.

There is no critic: each prompt is answered several times, and a response is as good as its return
stands above those of its group. The policy begins as a copy of the reference model, and adds its
own half of the KL penalty to the reward, since the environment does not know its
log-probabilities. Run it with

    python examples/grpo_one_file.py
    python examples/grpo_one_file.py --episodes 320 --seed 3
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import rlhf_env
from rlhf_env import exact


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a run; the defaults suit toy15."""

    task: str = "toy15"
    episodes: int = 3200
    prompts: int = 4
    """Prompts of one rollout."""
    group_size: int = 8
    """Responses to each of them."""
    learning_rate: float = 0.05
    epochs: int = 1
    clip_range: float = 0.2
    max_grad_norm: float = 1.0
    seed: int = 0


def next_token(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Categorical:
    """Return the distribution of the next token of each text, [B, L] padded on the right."""
    logits = model(input_ids=input_ids).logits
    last = attention_mask.sum(dim=1).long() - 1
    return Categorical(logits=logits[torch.arange(len(last)), last])


@torch.no_grad()
def collect(envs: Any, model: Any, prompts: Tensor, group_size: int) -> dict[str, Tensor]:
    """Answer each prompt ``group_size`` times.

    Returns:
        Of T steps and N = prompts · group_size rows: ``input_ids`` and ``attention_mask``
        [T, N, L], ``action``, ``logprob``, ``reward`` and ``is_open`` [T, N], the latter False
        after the end of a row's episode.
    """
    kl_coef = envs.unwrapped.kl_coef
    rows = prompts.repeat_interleave(group_size)
    observation, _ = envs.reset(options={"prompt_index": rows.tolist()})
    is_open = torch.ones(len(rows), dtype=torch.bool)
    steps: list[dict[str, Tensor]] = []
    while is_open.any():
        seen = {name: torch.as_tensor(array) for name, array in observation.items()}
        distribution = next_token(model, **seen)
        action = distribution.sample()
        logprob = distribution.log_prob(action)
        # Rows that are through go on with other episodes, which is_open leaves out.
        observation, reward, terminated, truncated, _ = envs.step(action.numpy())
        # The environment paid score + kl_coef · log π_ref; −kl_coef · log π completes it.
        reward = torch.as_tensor(reward).float() - kl_coef * logprob
        steps.append(
            {**seen, "action": action, "logprob": logprob}
            | {"reward": reward * is_open, "is_open": is_open}
        )
        is_open = is_open & ~torch.as_tensor(terminated | truncated)
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}


def group_advantages(returns: Tensor, group_size: int) -> Tensor:
    """Return (R − mean) / deviation of each group, [N] from returns [N]."""
    groups = returns.view(-1, group_size)
    centered = groups - groups.mean(dim=1, keepdim=True)
    return (centered / (groups.std(dim=1, keepdim=True) + 1e-4)).flatten()


def grpo_loss(model: Any, batch: dict[str, Tensor], clip_range: float) -> Tensor:
    """Return the clipped surrogate, averaged over the tokens of a batch."""
    distribution = next_token(model, batch["input_ids"], batch["attention_mask"])
    ratio = (distribution.log_prob(batch["action"]) - batch["logprob"]).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    advantage = batch["advantage"]
    return -torch.minimum(ratio * advantage, clipped * advantage).mean()


def train(envs: Any, model: Any, settings: Settings) -> None:
    """Alternate between answering prompts and steps on the tokens of the answers."""
    task = envs.unwrapped.task
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, eps=1e-5)
    envs.reset(seed=settings.seed)
    for _ in range(settings.episodes // envs.num_envs):
        prompts = torch.randint(len(task.prompts), (settings.prompts,))
        rollout = collect(envs, model, prompts, settings.group_size)
        returns = rollout["reward"].sum(dim=0)
        advantages = group_advantages(returns, settings.group_size)
        rollout["advantage"] = advantages.expand_as(rollout["reward"])
        batch = {name: tensor[rollout["is_open"]] for name, tensor in rollout.items()}
        for _ in range(settings.epochs):
            optimizer.zero_grad()
            grpo_loss(model, batch, settings.clip_range).backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()


def main(settings: Settings) -> float:
    """Train, and return J / J*: the policy's exact objective as a share of the optimum's."""
    torch.manual_seed(settings.seed)
    task = rlhf_env.load_task(settings.task)
    rows = settings.prompts * settings.group_size
    envs = gym.make_vec("RLHF-v0", num_envs=rows, task=task)
    model = copy.deepcopy(task.reference).requires_grad_(True)
    train(envs, model, settings)
    reached = exact.evaluate(task, model, task.kl_coef).objective
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
