"""Episodes that do not change: every response of a small task, or draws of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agents import Agent
from agents.exact_gradients.responses import every_response
from rlhf_env.rollout import Rollout
from studies.value_learning.settings import GROUP


def uniform_policy(vocab_size: int) -> Any:
    """Return the policy that chooses any token, as a function of the prefix."""
    return lambda prefix: [1.0 / vocab_size] * vocab_size


def all_responses(agent: Agent) -> Rollout:
    """Return every response once, as one group."""
    return every_response(agent, agent.base.task.reference).rollout


def drawn_responses(agent: Agent, behavior: Any, count: int, seed: int) -> Rollout:
    """Return some responses of a policy, with its log-probabilities, in groups of `GROUP`.

    Args:
        agent: of an environment whose task has one prompt and can be enumerated.
        behavior: the policy, in any form that `rlhf_env.exact.evaluate` takes.
        count: how many, a multiple of `GROUP`.
        seed: of the draws.
    """
    known = every_response(agent, behavior)
    generator = np.random.default_rng([seed, count])
    chances = known.probability.numpy()
    rows = generator.choice(len(chances), size=count, p=chances / chances.sum())
    return known.rollout.take(torch.from_numpy(rows)).replace(group=torch.arange(count) // GROUP)
