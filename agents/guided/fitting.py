"""Learning the returns of the reference's responses from samples of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.guided.returns import ReturnModel, on_atoms
from agents.policy import Policy, states_and_ends
from agents.rollouts.collect import base_environment, collect
from agents.rollouts.sampling_plan import Stream
from rlhf_env.checks import check_count, check_positive
from rlhf_env.rollout import Rollout

_MOST_ATOMS = 51


def fit_returns(
    envs: VectorEnv[Any, Any, Any],
    episodes: int | Rollout,
    *,
    atoms: Sequence[float] | None = None,
    passes: int = 20,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    temperature: float = 1.0,
    seed: int = 0,
) -> ReturnModel:
    """Return a model of what the reference's responses are paid, by maximum likelihood.

    Args:
        envs: a vector environment of RLHF-v0, with or without wrappers; their rewards are learned,
            but for the KL.
        episodes: how many responses to draw from the reference, or such responses.
        atoms: the returns that can be, ascending; those that were seen when None, or 51 evenly
            spaced ones if there are more.
        passes: through all episodes.
        batch_size: episodes of a step.
        learning_rate: Adam's, of trunk and head.
        temperature: of the reference.
        seed: of the episodes and of their order.

    Raises:
        ValueError: if a number is out of range, an episode was truncated, or all are paid the same.
    """
    for name, count in {"passes": passes, "batch_size": batch_size}.items():
        check_count(name, count)
    check_positive("learning_rate", learning_rate)
    base = base_environment(envs)
    if isinstance(episodes, Rollout):
        rollout = episodes
    else:
        reference = Policy(base.mdp.reference.model, base.task.vocab_size, temperature)
        rollout = collect(envs, reference, episodes, seed=(seed, Stream.REFERENCE_VALUES))
    if not rollout.terminated.all():
        raise ValueError(
            "returns are of whole responses, got truncated episodes; use "
            'length_limit="score" or "penalize"'
        )
    returns = _returns_to_go(rollout)
    known = _seen(returns[rollout.is_action]) if atoms is None else torch.tensor(list(atoms))
    model = copy.deepcopy(base.mdp.reference.model).requires_grad_(True)
    fitted = ReturnModel(model, base.task.vocab_size, known)
    optimizer = torch.optim.Adam(fitted.parameters(), lr=learning_rate)
    generator = np.random.default_rng([seed, Stream.SHUFFLE])
    for _ in range(passes):
        order = torch.from_numpy(generator.permutation(len(rollout)))
        for rows in order.split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            _loss(fitted, rollout.take(rows), returns[rows]).backward()
            optimizer.step()
    return fitted.requires_grad_(False)


def _loss(model: ReturnModel, rollout: Rollout, returns: Tensor) -> Tensor:
    """Return the mean cross-entropy of the returns from every action on."""
    states, _ = states_and_ends(rollout.is_action)
    hidden = model.hidden(rollout.tokens[:, : states.shape[1]], states)
    found = model.chosen_logprobs(hidden, rollout.tokens[rollout.is_action])
    aims = on_atoms(returns[rollout.is_action], model.atoms)
    return -(aims * found).sum(dim=1).mean()


def _returns_to_go(rollout: Rollout) -> Tensor:
    """Return what is paid from each action on, [B, L], without the KL."""
    paid = torch.stack([term for name, term in rollout.reward_terms.items() if name != "kl"])
    return paid.sum(dim=0).flip(1).cumsum(dim=1).flip(1)


def _seen(returns: Tensor) -> Tensor:
    """Return the returns that occur, ascending, or as many evenly spaced ones as are allowed."""
    levels = returns.unique()
    if len(levels) < 2:
        raise ValueError(
            f"episodes must be paid differently to be learned from, got {float(levels[0]):g} for "
            "all of them; draw more"
        )
    if len(levels) <= _MOST_ATOMS:
        return levels
    return torch.linspace(float(levels[0]), float(levels[-1]), _MOST_ATOMS)
