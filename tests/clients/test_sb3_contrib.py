"""sb3-contrib's MaskablePPO with the masks that `ActionMasks` offers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlhf_env.task import Task
from tests.clients.toy15_net import BETA, objective
from wrappers.stable_baselines3 import VecEnv
from wrappers.vector import ActionMasks

sb3_contrib = pytest.importorskip("sb3_contrib")


def make(task: str | Task, rows: int, **masks: Any) -> VecEnv:
    return VecEnv(ActionMasks(gym.make_vec("RLHF-v0", rows, task=task), **masks))


def agent(envs: VecEnv, **settings: Any) -> Any:
    return sb3_contrib.MaskablePPO(
        "MultiInputPolicy", envs, gamma=1.0, seed=0, device="cpu", **settings
    )


def test_it_learns_under_masks(toy15: Task) -> None:
    """Without word 2, and with EOS at the limit.

    J by recursion from the last token: 0.1573 for the reference under these masks, 0.2769 for the
    fixed point of an entropy bonus, 0.3059 for the optimum.
    """
    envs = make(toy15, 16, allowed_tokens=[0, 1], eos_at_limit=True)
    learner = agent(
        envs,
        n_steps=32,
        batch_size=256,
        n_epochs=5,
        learning_rate=0.01,
        ent_coef=BETA,
        normalize_advantage=False,
    )
    learner.learn(32 * 16 * 12)

    def probabilities(one: dict[str, np.ndarray]) -> Any:
        is_last = one["attention_mask"].sum() == 3
        mask = np.array([[True, not is_last, False]])
        observation = learner.policy.obs_to_tensor(one)[0]
        return learner.policy.get_distribution(observation, mask).distribution.probs

    assert 0.25 < objective(toy15, probabilities) < 0.306
    assert set(np.unique(learner.rollout_buffer.actions)) == {0, 1}


def test_every_row_gets_its_own_masks_on_reviews() -> None:
    envs = make("reviews", 4, top_k=5)
    learner = agent(envs, n_steps=16, batch_size=32)
    learner.learn(64)
    masks = learner.rollout_buffer.action_masks.reshape(-1, 133)
    actions = learner.rollout_buffer.actions.astype(int).reshape(-1)
    assert (masks.sum(axis=1) == 5).all()
    assert masks[np.arange(len(actions)), actions].all()
    assert len(np.unique(masks, axis=0)) > 4
