"""Values without a model: the mean return of continuations (VinePPO, arXiv:2410.01679)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.agent import Agent
from agents.critics.continuations import continue_episodes
from agents.rollouts.collect import rollout_transforms
from agents.rollouts.decisions import is_decision
from rlhf_env.rollout import Rollout

# Bounds the memory for continuations, which are decoded and paid together.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class MonteCarloValues:
    """Estimates of the value of the state of every decision."""

    values: dict[str, Tensor]
    """[B, D] for each discount by name; 0 where there is no decision."""
    tokens: int
    """How many were sampled for it."""


def check_continuable(agent: Agent) -> None:
    """Refuse an environment whose episodes cannot be continued from where others were.

    Raises:
        ValueError: if a wrapper can only be stepped, or episodes may be truncated.
    """
    is_stepped = rollout_transforms(agent.envs) is None
    if is_stepped or agent.base.mdp.options.length_limit == "bootstrap":
        what = "a wrapper that can only be stepped" if is_stepped else "truncated episodes"
        raise ValueError(
            f'critic="monte_carlo" finishes episodes to see what they are paid, got {what}; take '
            'length_limit="score" and wrappers of this project, or a critic that learns'
        )


def monte_carlo_values(
    agent: Agent, rollout: Rollout, samples: int, generator: np.random.Generator
) -> MonteCarloValues:
    """Return the mean return of k continuations from the state of every decision.

    They are by the agent's present policy, independent of the episode itself, so that advantages
    over these values are unbiased whatever lambda is.

    Args:
        agent: whose policy goes on; it is not changed.
        rollout: B finished episodes.
        samples: k.
        generator: draws the tokens of the continuations.

    Raises:
        ValueError: if a wrapper can only be stepped.
    """
    mask = is_decision(rollout)
    states = mask.nonzero()
    means: dict[str, list[Tensor]] = {}
    tokens = 0
    for part in states.split(max(1, _ROWS_AT_ONCE // samples)):
        episode, decision = part.unbind(1)
        found = continue_episodes(agent, rollout, episode, decision, samples, generator)
        tokens += found.tokens
        for name, returns in found.returns.items():
            means.setdefault(name, []).append(returns.mean(dim=1))
    zeros = torch.zeros(mask.shape, device=mask.device)
    values = {name: zeros.masked_scatter(mask, torch.cat(parts)) for name, parts in means.items()}
    return MonteCarloValues(values=values, tokens=tokens)
