"""Exact answers for conversations: hand-written games whose values can be worked out on paper."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from agents import collect
from agents.policy import Policy
from rlhf_env.conversation import DrawnAnswers
from rlhf_env.exact import evaluate, solve
from rlhf_env.task import Task
from tests.dialogues import silent
from tests.toys import tiny_llama, tiny_tokenizer

# Token 0 pads, 1 is EOS, 2 and 3 are words, 4 ends a turn; under a uniform reference each has 1/5.
PAD, EOS, HEADS, TAILS, TURN = range(5)
V = 5


def uniform_reference() -> Any:
    model = tiny_llama(V)
    torch.nn.init.zeros_(model.lm_head.weight)
    return model


class Game(DrawnAnswers):
    """A game by its two functions of what was said."""

    def __init__(self, answer: Any, score: Any, horizon: int, **fields: Any) -> None:
        self.answer = answer
        self.task = Task(
            name="game",
            tokenizer=tiny_tokenizer(V),
            reference=uniform_reference(),
            reward=TokenScore(score),
            prompts=[torch.tensor([HEADS])],
            max_prompt_tokens=1,
            max_new_tokens=horizon,
            respond=self,
            end_of_turn_id=TURN,
            max_environment_tokens=4,
            **fields,
        )

    def outcomes(self, prompt: tuple[int, ...], history: tuple[int, ...]) -> Any:
        return self.answer(history)


class TokenScore:
    """A function of the ids of all that was said."""

    def __init__(self, score: Any) -> None:
        self.score = score

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.tensor([self.score(tuple(ids.tolist())) for ids in responses]).double()


def echo() -> Task:
    """End the turn, hear a coin, and repeat it for a point."""
    return Game(
        lambda said: [(0.5, (HEADS,)), (0.5, (TAILS,))],
        lambda said: float(len(said) == 3 and said[0] == TURN and said[2] == said[1]),
        horizon=2,
    ).task


def risk() -> Task:
    """A turn ends the game with a loss one time in four; else a word is worth two points."""
    return Game(
        lambda said: [(0.25, None), (0.75, (HEADS,))],
        lambda said: -1.0 if said == (TURN,) else 2.0 * (said == (TURN, HEADS, TAILS)),
        horizon=2,
    ).task


def higher_or_lower() -> Task:
    """Find a number from 1 to 3, said by the words PAD, HEADS and TAILS, in two turns.

    The number is drawn by the answers: they are as likely as what they leave possible.
    """
    order = {PAD: 1, HEADS: 2, TAILS: 3}

    def guess_before(said: tuple[int, ...], end: int) -> int:
        """The number that the turn ending at ``end`` says last; 0 if it says nothing."""
        is_own = end > 0 and (end == 1 or said[end - 2] != TURN)
        return order.get(said[end - 1], 0) if is_own else 0

    def answer(said: tuple[int, ...]) -> Any:
        if (TURN, EOS) in itertools.pairwise(said):
            return [(1.0, None)]
        left = [1, 2, 3]
        for at in range(len(said) - 1):
            if said[at + 1] == TURN and at + 2 < len(said):
                guess = guess_before(said, at + 1)
                left = [n for n in left if (n > guess) == (said[at + 2] == TAILS) and n != guess]
        guess = guess_before(said, len(said) - 1)
        up, down = sum(n > guess for n in left), sum(n < guess for n in left)
        parts = [(up, (TAILS,)), (down, (HEADS,)), (guess in left, (EOS,))]
        return [(float(part) / len(left), ids) for part, ids in parts if part]

    # The environment says EOS where the guess is right; the agent never says it after a turn.
    return Game(answer, lambda said: float((TURN, EOS) in itertools.pairwise(said)), horizon=5).task


@pytest.mark.parametrize("kl_coef", [0.1, 0.7])
def test_a_coin_that_has_to_be_repeated(kl_coef: float) -> None:
    after_coin = math.log((4 + math.exp(1 / kl_coef)) / 5)  # V / beta
    expected = kl_coef * math.log((4 + math.exp(after_coin)) / 5)
    found = solve(echo(), kl_coef)
    assert found.objective == pytest.approx(expected, abs=1e-12)
    assert found.values[(TURN, HEADS)] == pytest.approx(kl_coef * after_coin, abs=1e-12)
    # The agent cannot choose the coin: both sides are as likely under the optimum.
    ends = found.policy[()][TURN]
    assert ends == pytest.approx(math.exp(after_coin) / (4 + math.exp(after_coin)), abs=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_a_turn_that_may_end_the_game(gamma: float) -> None:
    kl_coef = 0.3
    after = kl_coef * math.log((4 + math.exp(2 / kl_coef)) / 5)
    q_turn = -0.25 + 0.75 * gamma * after
    expected = kl_coef * math.log((4 + math.exp(q_turn / kl_coef)) / 5)
    assert solve(risk(), kl_coef, gamma).objective == pytest.approx(expected, abs=1e-12)


def test_the_middle_is_asked_first() -> None:
    found = solve(higher_or_lower(), 0.0)
    assert found.objective == pytest.approx(1.0)
    assert found.policy[()][HEADS] == pytest.approx(1.0)
    one_turn = Game(
        higher_or_lower().respond.answer,  # type: ignore[union-attr]
        higher_or_lower().reward.score,  # type: ignore[attr-defined]
        horizon=3,
    ).task
    assert solve(one_turn, 0.0).objective == pytest.approx(1 / 3)


@pytest.mark.parametrize("make", [echo, risk, higher_or_lower])
def test_the_optimum_is_worth_what_it_claims_and_nothing_is_worth_more(make: Any) -> None:
    task, kl_coef = make(), 0.4
    best = solve(task, kl_coef)
    assert evaluate(task, best.policy, kl_coef).objective == pytest.approx(best.objective)
    rng = np.random.default_rng(0)
    for _ in range(5):
        other = {
            prefix: tuple((0.9 * np.array(row) + 0.1 * rng.dirichlet(np.ones(V))).tolist())
            for prefix, row in best.policy.items()
        }
        assert evaluate(task, other, kl_coef).objective < best.objective


def test_the_reference_is_worth_what_its_episodes_are_paid() -> None:
    """Enumeration against 4,000 decoded conversations of the real environment."""
    task = risk()
    exact = evaluate(task, task.reference, 0.4)
    envs = gym.make_vec("RLHF-v0", num_envs=64, task=task)
    policy = Policy(uniform_reference(), V)
    scores = collect(envs, policy, 4000, seed=0).score.double()
    error = float(scores.std()) / math.sqrt(len(scores))
    assert abs(float(scores.mean()) - exact.reward) < 4 * error
    assert exact.kl == pytest.approx(0.0, abs=1e-12)


def test_a_user_with_nothing_to_say_is_a_single_turn() -> None:
    talk = Game(lambda said: [(1.0, None)], lambda said: float(sum(said)), horizon=3).task
    found = solve(talk, 0.5)

    # EOS or the turn's end finish; any other word goes on: by hand, from the last action back.
    def value(total: float, left: int) -> float:
        if left == 0:
            return total
        q = [value(total + t, 0 if t in (EOS, TURN) else left - 1) for t in range(V)]
        return 0.5 * math.log(sum(math.exp(each / 0.5) for each in q) / V)

    assert found.objective == pytest.approx(value(0.0, 3), abs=1e-12)


def test_an_opaque_user_is_refused() -> None:
    task = Game(lambda said: [], lambda said: 0.0, horizon=2).task
    opaque = dataclasses.replace(task, respond=silent)
    with pytest.raises(ValueError, match="known probabilities, got function without outcomes"):
        solve(opaque, 0.1)


def test_probabilities_that_do_not_add_up_are_refused() -> None:
    task = Game(lambda said: [(0.5, None)], lambda said: 0.0, horizon=2).task
    with pytest.raises(ValueError, match=r"positive probabilities that add up to 1, got \[0.5\]"):
        solve(task, 0.1)
