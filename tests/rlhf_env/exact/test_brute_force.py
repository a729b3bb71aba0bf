"""The exact solver against brute force on three hand-written games.

Every episode that can happen is written down, action by action and answer by answer, with its
probability under a policy; nothing of the solver, the environment or its trees is used.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import pytest

from agents import collect
from agents.policy import Policy as LanguageModelPolicy
from rlhf_env.exact import evaluate, regret, solve
from rlhf_env.task import Task
from tests.rlhf_env.exact.test_dialogue_tree import (
    EOS,
    TURN,
    Game,
    V,
    echo,
    higher_or_lower,
    risk,
)

Policy = Callable[[tuple[int, ...]], Any]
GAMES = [echo, risk, higher_or_lower]


class Episode(NamedTuple):
    """One of all the things that can be said."""

    probability: float
    said: tuple[int, ...]
    log_ratios: tuple[float, ...]
    """log pi / pi_ref of the agent's tokens, in their order."""
    turns: tuple[int, ...]
    """The turns that had ended before each of them."""


def rules(task: Task) -> tuple[Any, Any]:
    """The answers and the score of a game, as it was written down."""
    game = task.respond
    assert isinstance(game, Game)
    return game.answer, task.reward.score  # type: ignore[attr-defined]


def after(task: Task, said: tuple[int, ...], left: int) -> list[tuple[float, Any]]:
    """What can follow an action: (chance, what was said then, or None where it is over)."""
    if said[-1] == EOS or left == 0:
        return [(1.0, None)]
    if said[-1] != TURN:
        return [(1.0, said)]
    answers = rules(task)[0](said)
    return [(chance, None if ids is None else said + tuple(ids)) for chance, ids in answers]


def episodes(task: Task, policy: Policy) -> Iterator[Episode]:
    """All episodes with their probabilities under a policy."""

    def go_on(begun: Episode, left: int, turn: int) -> Iterator[Episode]:
        for token, chance in enumerate(policy(begun.said)):
            if not chance:
                continue
            said = (*begun.said, token)
            ratios, turns = (*begun.log_ratios, math.log(chance * V)), (*begun.turns, turn)
            for luck, following in after(task, said, left - 1):
                weight = begun.probability * chance * luck
                if following is None:
                    yield Episode(weight, said, ratios, turns)
                else:
                    so_far = Episode(weight, following, ratios, turns)
                    yield from go_on(so_far, left - 1, turn + (token == TURN))

    return go_on(Episode(1.0, (), (), ()), task.max_new_tokens, 0)


def worth(task: Task, policy: Policy, kl_coef: float, gamma: float, unit: str) -> float:
    """The objective of a policy, as a sum over all episodes."""
    score = rules(task)[1]
    total = 0.0
    for episode in episodes(task, policy):
        powers = [gamma**k for k in (range(99) if unit == "decision" else episode.turns)]
        paid = powers[len(episode.log_ratios) - 1] * score(episode.said)
        cost = sum(power * ratio for power, ratio in zip(powers, episode.log_ratios, strict=False))
        total += episode.probability * (paid - kl_coef * cost)
    return total


def best(task: Task, kl_coef: float, gamma: float, unit: str) -> float:
    """J*, from the definition: the soft maximum over actions of the mean over answers."""
    score = rules(task)[1]

    @functools.cache
    def value(said: tuple[int, ...], left: int) -> float:
        q = []
        for token in range(V):
            text, discount = (*said, token), gamma if unit == "decision" or token == TURN else 1.0
            q.append(
                sum(
                    luck * (score(text) if then is None else discount * value(then, left - 1))
                    for luck, then in after(task, text, left - 1)
                )
            )
        if kl_coef == 0.0:
            return max(q)
        return kl_coef * math.log(sum(math.exp(each / kl_coef) for each in q) / V)

    return value((), task.max_new_tokens)


@pytest.mark.parametrize("make", GAMES)
@pytest.mark.parametrize("unit", ["decision", "turn"])
@pytest.mark.parametrize(("kl_coef", "gamma"), [(0.0, 1.0), (0.2, 1.0), (0.7, 0.9)])
def test_the_optimum_is_that_of_brute_force(
    make: Any, unit: str, kl_coef: float, gamma: float
) -> None:
    task = make()
    found = solve(task, kl_coef, gamma, discount_unit=unit)
    assert found.objective == pytest.approx(best(task, kl_coef, gamma, unit), abs=1e-12)
    if kl_coef:
        by_episodes = worth(task, found.policy.__getitem__, kl_coef, gamma, unit)
        assert by_episodes == pytest.approx(found.objective, abs=1e-12)


@pytest.mark.parametrize("make", GAMES)
@pytest.mark.parametrize("unit", ["decision", "turn"])
def test_any_policy_is_worth_the_sum_over_its_episodes(make: Any, unit: str) -> None:
    task, gamma = make(), 0.8

    def policy(said: tuple[int, ...]) -> list[float]:
        weights = [1.0 + (3 * token + sum(said) + 2 * len(said)) % 5 for token in range(V)]
        return [weight / sum(weights) for weight in weights]

    assert sum(episode.probability for episode in episodes(task, policy)) == pytest.approx(1.0)
    found = evaluate(task, policy, 0.3, gamma, discount_unit=unit).objective
    assert found == pytest.approx(worth(task, policy, 0.3, gamma, unit), abs=1e-12)


@pytest.mark.parametrize("make", [echo, risk])
@pytest.mark.parametrize("unit", ["decision", "turn"])
def test_the_gap_to_the_optimum_is_the_mean_of_regrets(make: Any, unit: str) -> None:
    """Over conversations that a policy draws, within four standard errors."""
    task, kl_coef, gamma = make(), 0.5, 0.6
    envs = gym.make_vec("RLHF-v0", num_envs=64, task=task)
    rollout = collect(envs, LanguageModelPolicy(task.reference, V), 1500, seed=0)
    gap, error = regret(task, rollout, task.reference, kl_coef, gamma, discount_unit=unit)
    optimum = solve(task, kl_coef, gamma, discount_unit=unit).objective
    due = optimum - evaluate(task, task.reference, kl_coef, gamma, discount_unit=unit).objective
    assert abs(gap - due) < 4 * error
    assert error < 0.1 * due
