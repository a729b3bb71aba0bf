"""The policy of a round: PPO on the round's reward, from where the last round ended."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from torch import nn

import rlhf_env  # noqa: F401  (registers RLHF-v0)
from agents import PPO, collect, train
from agents.algorithms.ppo import PPOConfig
from agents.policy import Policy
from agents.rollouts.collect import base_environment
from rlhf_env.rollout import Rollout
from rlhf_env.task import RewardLike, Task
from studies.feedback_rounds.settings import Settings

# Responses that are decoded side by side; memory only.
NUM_ENVS = 64
# Updates that an interruption may cost; they are done again, with the same result.
CHECKPOINT_EVERY = 10


def make_envs(task: Task, settings: Settings, reward: RewardLike) -> VectorEnv[Any, Any, Any]:
    """Return an environment in which a reward judges; an unfinished response costs extra."""
    return gym.make_vec(
        "RLHF-v0",
        num_envs=NUM_ENVS,
        task=dataclasses.replace(task, reward=reward),
        kl_coef=settings.kl_coef,
        length_limit="penalize",
        missing_eos_penalty=settings.missing_eos_penalty,
    )


def unjudged(prompts: list[str], responses: list[str]) -> list[float]:
    """Give every response 0: a reward for rollouts whose reward does not matter."""
    return [0.0] * len(responses)


def model_before(folder: Path | None, task: Task, envs: VectorEnv[Any, Any, Any]) -> nn.Module:
    """Return the language model that a round starts from.

    Args:
        folder: of the last round's training; None for the first round.
        task: whose reference is the first policy.
        envs: any environment of the task.

    Raises:
        ValueError: if the folder holds no checkpoint that can be used.
    """
    if folder is None:
        device = base_environment(envs).mdp.device
        return copy.deepcopy(task.reference).to(device).requires_grad_(True)
    newest = max(folder.glob("checkpoints/update-*"), default=folder / "checkpoints")
    return PPO.load(newest, envs).policy.model


def reference_rollout(
    envs: VectorEnv[Any, Any, Any], episodes: int, seed: tuple[int, ...]
) -> Rollout:
    """Return responses of the reference to the training prompts."""
    base = base_environment(envs)
    reference = Policy(base.mdp.reference.model, base.task.vocab_size)
    return collect(envs, reference, episodes, seed=seed)


def train_policy(
    model: nn.Module, envs: VectorEnv[Any, Any, Any], settings: Settings, seed: int, folder: Path
) -> PPO:
    """Train a model with PPO, or continue an interrupted training.

    The value head and the optimizer are new in each round, as the reward is.

    Args:
        model: the policy at the start; its weights change.
        envs: in which it acts.
        settings: how many episodes, and step sizes.
        seed: of the rollouts and batches.
        folder: gets metrics and checkpoints.
    """
    rate = PPOConfig().learning_rate if settings.learning_rate is None else settings.learning_rate
    size = settings.episodes_per_update
    agent = PPO(envs, policy=model, seed=seed, episodes_per_update=size, learning_rate=rate)
    train(
        agent,
        envs,
        settings.episodes_per_round,
        log_dir=folder,
        checkpoint_every=CHECKPOINT_EVERY,
    )
    return agent
