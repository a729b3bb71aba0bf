"""The policy of a round, trained from where the last round ended: by a reward or by its labels."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from torch import nn

import rlhf_env  # noqa: F401  (registers RLHF-v0)
from agents import DPO, PPO, collect, train
from agents.policy import Policy
from agents.rollouts.collect import base_environment
from rlhf_env.rewards.feedback.data import PreferenceData
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


def model_before(
    folder: Path | None, task: Task, envs: VectorEnv[Any, Any, Any], settings: Settings
) -> nn.Module:
    """Return the language model that a round starts from.

    Args:
        folder: of the last round's training; None for the first round.
        task: whose reference is the first policy.
        envs: any environment of the task.
        settings: say what trained it.

    Raises:
        ValueError: if the folder holds no checkpoint that can be used.
    """
    if folder is None:
        device = base_environment(envs).mdp.device
        return copy.deepcopy(task.reference).to(device).requires_grad_(True)
    newest = max(folder.glob("checkpoints/update-*"), default=folder / "checkpoints")
    agent = DPO if settings.policy == "dpo" else PPO
    return agent.load(newest, envs).policy.model


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
    agent = PPO(envs, policy=model, seed=seed, **_sizes(settings))
    _train(agent, envs, settings, folder)
    return agent


def train_on_labels(
    model: nn.Module,
    envs: VectorEnv[Any, Any, Any],
    labels: PreferenceData,
    settings: Settings,
    seed: int,
    folder: Path,
) -> DPO:
    """Train a model with DPO on labeled pairs, or continue an interrupted training.

    The loss keeps it near the task's reference, in the first round as in the last: with all labels
    so far, the optimum is that of one DPO on all of them.

    Args:
        model: the policy at the start; its weights change.
        envs: of the task; its KL coefficient is DPO's beta.
        labels: comparisons.
        settings: how many episodes, and step sizes.
        seed: of the order of pairs.
        folder: gets metrics, checkpoints and what the reference says of the pairs.
    """
    agent = DPO(envs, policy=model, preferences=labels, seed=seed, **_sizes(settings))
    assert agent.preferences is not None
    agent.preferences.path = folder / "reference.safetensors"
    _train(agent, envs, settings, folder)
    return agent


def label_accuracy(
    model: nn.Module, envs: VectorEnv[Any, Any, Any], labels: PreferenceData
) -> float:
    """Return how often a policy's implicit reward prefers what people did; ties count half."""
    return DPO(envs, policy=model).preference_figures(labels)["accuracy"]


def _sizes(settings: Settings) -> dict[str, Any]:
    """Return the settings of an agent that were given."""
    rate = settings.learning_rate
    given = {} if rate is None else {"learning_rate": rate}
    return {"episodes_per_update": settings.episodes_per_update, **given}


def _train(
    agent: PPO | DPO, envs: VectorEnv[Any, Any, Any], settings: Settings, folder: Path
) -> None:
    train(
        agent,
        envs,
        settings.episodes_per_round,
        log_dir=folder,
        checkpoint_every=CHECKPOINT_EVERY,
    )
