"""The rules of guess, and its optimum."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from rlhf_env.exact import solve
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.tasks.games.guess import guess_task
from rlhf_env.tasks.games.guess.rules import (
    HIGHER,
    LOWER,
    WORDS,
    Found,
    User,
    read,
    still_findable,
)
from rlhf_env.tasks.games.words import EOS


def ids(text: str) -> tuple[int, ...]:
    return tuple(WORDS.encode(text.replace(".", f" {EOS}").split()).tolist())


def test_the_user_answers_what_the_range_makes_likely() -> None:
    """Of 1 to 7, 2 is right in one case of 7, one number is below and five are above."""
    answers = {answer: chance for chance, answer in User().outcomes(ids("1 7"), ids("2."))}
    assert answers == {ids(LOWER): 1 / 7, ids(HIGHER): 5 / 7, None: 1 / 7}
    # Three are left, so what was excluded before is certain.
    assert User().outcomes(ids("1 7"), ids("4. lower 6.")) == [(1.0, ids(LOWER))]
    assert User().outcomes(ids("1 7"), ids("4. lower 4.")) == [(1.0, ids(LOWER))]
    assert User().outcomes(ids("1 7"), ids("4. lower 1. higher 2.")) == [
        (0.5, ids(HIGHER)),
        (0.5, None),
    ]
    for no_guess in (".", "higher.", "3 4."):
        assert User().outcomes(ids("1 7"), ids(no_guess)) == [(1.0, None)]


# What was said in a game over 1 to 7, and its score.
SCORES = [
    ("4.", 1.0),
    ("4. lower 2.", 1.0),
    ("4. lower 2", 1 / 3),
    ("4. lower 2. higher 3", 1.0),
    ("4. lower 2. higher 1", 0.0),
    ("9", 0.0),
    (".", 0.0),
    ("3 4.", 0.0),
    ("4. lower 5.", 0.0),
]


@pytest.mark.parametrize(("said", "score"), SCORES)
def test_the_score(said: str, score: float) -> None:
    paid = Found()([torch.tensor(ids("1 7"))], [torch.tensor(ids(said))])
    assert paid.tolist() == pytest.approx([score])


def turns_of_lowest_first(random: np.random.Generator) -> int:
    """Play over 1 to 3, always guessing the lowest number left."""
    said: tuple[int, ...] = ()
    for turn in (1, 2, 3):
        said = (*said, *ids(f"{read(ids('1 3'), said).low}."))
        (answer,) = User()([torch.tensor(ids("1 3"))], [torch.tensor(said)], [random])
        if answer is None:
            return turn
        said = (*said, *answer.tolist())
    raise AssertionError("the third guess must be right")


def test_drawn_answers_are_those_to_a_number_drawn_before() -> None:
    """It takes 1, 2 or 3 turns, each as often."""
    random = np.random.default_rng(0)
    counts = np.bincount([turns_of_lowest_first(random) for _ in range(1500)])
    assert counts[1:] == pytest.approx([500, 500, 500], abs=75)


# After a guess in a game of three turns over 1 to 7: what halving then finds.
STEPS = [("4.", 1.0), ("1.", 4 / 7), ("2.", 5 / 7), ("7. lower 3.", 3 / 6), ("3 3.", 0.0)]


@pytest.mark.parametrize(("said", "chance"), STEPS)
def test_what_can_still_be_found(said: str, chance: float) -> None:
    found = still_findable([torch.tensor(ids("1 7"))], [torch.tensor(ids(said))], 3)
    assert found.tolist() == pytest.approx([chance])


def brute_force(task: Task, beta: float, gamma: float, said: tuple[int, ...] = ()) -> float:
    """The soft value of two turns over 1 to 3, by following every token and every answer."""
    horizon, words = task.max_new_tokens, task.vocab_size
    text = torch.tensor([(*ids("1 3"), *said)])
    with torch.no_grad():
        row = task.reference(input_ids=text).logits[0, -1, :words].double().log_softmax(0)
    answers = {ids(LOWER)[0], ids(HIGHER)[0]}
    spoken = len(said) - (len(said) == 3 and said[2] in answers)
    q = []
    for token in range(words):
        after = (*said, token)
        if spoken + 1 == horizon:
            q.append(float(Found()([torch.tensor(ids("1 3"))], [torch.tensor(after)])))
        elif token != task.eos_id:
            q.append(gamma * brute_force(task, beta, gamma, after))
        else:
            value = 0.0
            for chance, answer in User().outcomes(ids("1 3"), after):
                if answer is None:
                    paid = Found()([torch.tensor(ids("1 3"))], [torch.tensor(after)])
                    value += chance * float(paid)
                else:
                    value += chance * gamma * brute_force(task, beta, gamma, (*after, *answer))
            q.append(value)
    return beta * float((row + torch.tensor(q, dtype=torch.float64) / beta).logsumexp(0))


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_the_optimum_of_two_turns_is_that_of_brute_force(gamma: float) -> None:
    task = load_task("guess-2")
    found = solve(task, 0.1, gamma=gamma)
    assert found.objective == pytest.approx(brute_force(task, 0.1, gamma), abs=1e-6)


@pytest.mark.parametrize(("gamma", "least", "most"), [(1.0, 0.2, 0.6), (0.8, 0.95, 1.0)])
def test_a_discount_makes_halving_the_only_way(gamma: float, least: float, most: float) -> None:
    """Over 1 to 3 with a turn to spare all orders find the number; the middle is fastest."""
    game = load_task("guess-2")
    task = dataclasses.replace(game, max_new_tokens=5, max_turns=3, max_environment_tokens=2)
    best = solve(task, 0.005, gamma=math.sqrt(gamma))
    assert best.reward > 0.99 or gamma < 1
    assert least < float(best.policy[()][ids("2")[0]]) < most


def test_sizes_share_one_model_and_refuse_others() -> None:
    assert [load_task(f"guess-{k}").vocab_size for k in (2, 8)] == [6, 258]
    game = load_task("guess")
    asked, held_out = (
        {tuple(p.tolist()) for p in some} for some in (game.prompts, game.eval_prompts)
    )
    assert (len(asked), len(held_out), len(asked & held_out)) == (109, 27, 0)
    with pytest.raises(ValueError, match="turns must be at most 8, got 9"):
        guess_task(9)
