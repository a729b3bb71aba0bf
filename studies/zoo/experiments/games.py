"""Figures of games of guess: how many guesses a trained agent needs, and how it begins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agents import Agent, collect
from rlhf_env.tasks.games.guess.rules import read

_GAMES = 1024
# Of the games, which are others than those of training.
_SEED = (0, 2)


def guessing_figures(agent: Agent) -> Mapping[str, float]:
    """Return how an agent plays, from 1024 games that are the same for every agent.

    Args:
        agent: on a task of `rlhf_env.tasks.games.guess`, with one prompt.

    Returns:
        ``found``, the share of games in which the number is found; ``turns``, the guesses of those
        games; ``middle``, the share of games that begin with the middle of the range.
    """
    rollout = collect(agent.envs, agent.policy, _GAMES, seed=_SEED)
    prompts, responses = rollout.prompts(), rollout.responses()
    scores = agent.base.task.reward(prompts, responses).double().numpy()
    played = [read(p.tolist(), r.tolist()) for p, r in zip(prompts, responses, strict=True)]
    guesses = np.array([len(game.guesses) + 1 for game in played])
    asked = read(prompts[0].tolist(), [])
    first = [(*game.guesses, game.last)[0] for game in played]
    # A last guess that the horizon leaves without an answer scores the chance that it is right.
    return {
        "found": float(scores.mean()),
        "turns": float(scores @ guesses / scores.sum()) if scores.any() else float("nan"),
        "middle": float(np.mean([guess == (asked.low + asked.high) // 2 for guess in first])),
    }
