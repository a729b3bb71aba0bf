"""Policy gradients at the reference policy: the same episodes, rewarded as in every setting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from agents import Agent, PolicyOutput, collect
from agents.rollouts.collect import rollout_transforms
from agents.rollouts.kl_reward import add_policy_logprob
from rlhf_env.rollout import Rollout, RolloutTransform
from studies.experiment.build import make_task
from studies.variance.environments import study_envs
from studies.variance.reward_to_go import RewardToGo
from studies.variance.settings import Setting, Study


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """What was measured."""

    vectors: dict[Setting, NDArray[np.float32]]
    """Per setting [K, P], one gradient over P weights for each of K rollouts."""
    scores: NDArray[np.float64]
    """[K * B] of all episodes."""


def measure_gradients(study: Study, *, progress: bool = True) -> Gradients:
    """Return the gradients of K rollouts under every setting."""
    task = make_task(study.task)
    first = study.settings[0]
    envs = study_envs(study.run(first, "ppo", study.seed), task)
    agent = Agent(envs, algorithm=RewardToGo(), episodes_per_update=study.episodes, seed=study.seed)
    layers = {setting: _layers(study, setting) for setting in study.settings}
    found: dict[Setting, list[NDArray[np.float32]]] = {setting: [] for setting in layers}
    scores: list[NDArray[np.float64]] = []
    for number in tqdm(range(study.rollouts), unit="rollout", disable=not progress):
        plain = collect(envs, agent.policy, study.episodes, seed=(study.seed, number))
        scores.append(plain.score.double().cpu().numpy())
        new = agent.policy.evaluate_tokens(plain.tokens, plain.is_action)
        for setting, transforms in layers.items():
            paid = _paid(plain, transforms)
            found[setting].append(_gradient(agent, paid, new))
    vectors = {setting: np.stack(rows) for setting, rows in found.items()}
    return Gradients(vectors=vectors, scores=np.concatenate(scores))


def _layers(study: Study, setting: Setting) -> list[RolloutTransform]:
    envs = study_envs(study.run(setting, "ppo", study.seed), make_task(study.task))
    transforms = rollout_transforms(envs)
    assert transforms is not None, setting
    return transforms


def _paid(rollout: Rollout, transforms: list[RolloutTransform]) -> Rollout:
    for transform in transforms:
        rollout = transform.rollout(rollout)
    return add_policy_logprob(rollout)


def _gradient(agent: Agent, rollout: Rollout, new: PolicyOutput) -> NDArray[np.float32]:
    """Return the [P] gradient of the objective; the graph of ``new`` is kept for the next one."""
    rule, reference = agent.learner.algorithm, agent.base.mdp.reference
    losses, _ = rule.loss(rollout, new, new, rule.targets(rollout, new, reference))
    weights = [weight for weight in agent.policy.model.parameters() if weight.requires_grad]
    parts: tuple[Tensor, ...] = torch.autograd.grad(-losses.mean(), weights, retain_graph=True)
    return torch.cat([part.flatten() for part in parts]).float().cpu().numpy()
