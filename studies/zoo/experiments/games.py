"""Figures of games of guess: how many guesses a trained agent needs, and how it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from agents import Agent, collect
from rlhf_env.tasks.games.guess.rules import read

_GAMES = 1024
# Of the games, which are others than those of training.
_SEED = (0, 2)


def guessing_figures(agent: Agent) -> Mapping[str, float]:
    """Return `figures` of an agent, from 1024 games that are drawn alike for every agent.

    Args:
        agent: on a task of `rlhf_env.tasks.games.guess`, with one prompt.
    """
    rollout = collect(agent.envs, agent.policy, _GAMES, seed=_SEED)
    prompts, responses = rollout.prompts(), rollout.responses()
    return figures(prompts, responses, agent.base.task.reward(prompts, responses))


def figures(prompts: list[Tensor], responses: list[Tensor], scores: Tensor) -> dict[str, float]:
    """Return how games of guess went.

    Args:
        prompts: the ranges of B games, as ids.
        responses: what was said in them, as ids.
        scores: [B] the chance that the number was found: 0 or 1, but where the horizon left the
            last guess without an answer.

    Returns:
        ``found``, the share of games in which the number was found; ``turns``, the mean guesses of
        those games; ``middle``, the share of games that began with the middle of their range.
    """
    asked = [read(prompt.tolist(), []) for prompt in prompts]
    pairs = zip(prompts, responses, strict=True)
    played = [read(prompt.tolist(), response.tolist()) for prompt, response in pairs]
    weights = scores.double().numpy()
    guesses = np.array([len(game.guesses) + 1 for game in played])
    first = [(*game.guesses, game.last)[0] for game in played]
    begun = zip(first, asked, strict=True)
    return {
        "found": float(weights.mean()),
        "turns": float(weights @ guesses / weights.sum()) if weights.any() else math.nan,
        "middle": float(np.mean([guess == (one.low + one.high) // 2 for guess, one in begun])),
    }
