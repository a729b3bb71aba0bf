"""Short runs of agents that learn from comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agents import DPO, PreferenceAgent, ResponseGroup
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.rlhf_env.toy15_tables import ACTIONS, SCORES, action_logprobs
from tests.toys import EOS, tiny_llama_task

RAGGED = [
    ResponseGroup.pair([2, 3], [5, 6, 7, EOS], [4, EOS]),
    ResponseGroup.pair([4], [9, EOS], [8, 7, 6, 5, 4, 3, 2, EOS]),
    ResponseGroup.pair([2, 3, 4, 5, 6], [9, 9, EOS], [8, EOS], p=0.7),
    ResponseGroup.pair([7], [EOS], [6, 6, EOS], p=0.5),
    ResponseGroup.pair([2, 3], [5, 6, 8, EOS], [5, 6, EOS], p=0.0),
    ResponseGroup.pair([9, 9, 9], [4, 4, 4, 4, 4, EOS], [4, 4, 4, 4, EOS]),
    ResponseGroup.pair([3], [2, EOS], [2, 2, EOS], p=2 / 3),
    ResponseGroup.pair([8, 2], [3, 3, 3, 3, 3, 3, 3, EOS], [7, EOS]),
]
"""Eight pairs of one to eight tokens."""


def make_agent(kind: type[PreferenceAgent] = DPO, task: Task | None = None, **settings: Any) -> Any:
    """Return an agent on all eight pairs; one update sees each once."""
    given = {"episodes_per_update": 16, "preferences": RAGGED, "learning_rate": 0.01, **settings}
    return kind(make_envs(task or tiny_llama_task()), **given)


def gradient(agent: Any, rollout: Any = None) -> torch.Tensor:
    """Return the gradient of the mean loss by the learner's own micro-batches, flat."""
    rollout = agent.collect() if rollout is None else rollout
    learner = agent.learner
    old = agent.policy.sampler_only(rollout)
    targets = learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
    agent.policy.zero_grad()
    learner._add_gradients(rollout, old, targets, torch.arange(len(rollout)), None)
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learner.parameters]
    )


def toy15_pairs(task: Task, count: int, seed: int) -> list[ResponseGroup]:
    """Draw pairs of different responses of the reference of "toy15", labeled by Bradley-Terry."""
    mass = action_logprobs(task.reference).sum(dim=1).exp().numpy()
    generator = np.random.default_rng(seed)
    drawn = generator.choice(15, size=(4 * count, 2), p=mass / mass.sum())
    drawn = drawn[drawn[:, 0] != drawn[:, 1]][:count]
    assert len(drawn) == count
    is_won = generator.random(count) < (SCORES[drawn[:, 0]] - SCORES[drawn[:, 1]]).sigmoid().numpy()
    responses = [ids[ids >= 0] for ids in ACTIONS]
    pairs = np.where(is_won[:, None], drawn, drawn[:, ::-1])
    prompt = task.prompts[0]
    return [ResponseGroup.pair(prompt, responses[a], responses[b]) for a, b in pairs.tolist()]


def share_of_optimum(agent: Any) -> float:
    """Return J/J* of the policy on "toy15", from its table of logits."""
    logprobs = action_logprobs(agent.policy.model).sum(dim=1)
    reference = action_logprobs(agent.base.task.reference).sum(dim=1)
    objective = (logprobs.exp() * (SCORES - 0.5 * (logprobs - reference))).sum()
    return float(objective.detach()) / 1.125295
