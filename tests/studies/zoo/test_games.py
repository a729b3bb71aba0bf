"""Figures of games of guess, from games written by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rlhf_env.tasks.games.guess.rules import WORDS, Found
from studies.zoo.experiments.games import figures
from studies.zoo.tasks import spare_turns_task


def test_figures_of_games_by_hand() -> None:
    said = [
        "4 </s>",  # The middle, and right at once.
        "4 </s> lower 2 </s>",
        "1 </s> higher 2 </s> higher 7",  # Not answered: one of 3 to 7.
        "4 </s> higher 3 </s> higher </s>",  # Not a guess: the game is over.
    ]
    prompts = [WORDS.encode(["1", "7"])] * len(said)
    responses = [WORDS.encode(text.split()) for text in said]
    scores = Found()(prompts, responses)
    assert scores.tolist() == [1.0, 1.0, 0.2, 0.0]
    found = figures(prompts, responses, scores)
    assert found["found"] == pytest.approx(0.55)
    # (1 + 2 + 0.2 * 3) / 2.2
    assert found["turns"] == pytest.approx(3.6 / 2.2)
    assert found["middle"] == 0.75


def test_a_game_that_is_never_won_has_no_turns_to_success() -> None:
    prompts, responses = [WORDS.encode(["1", "7"])], [WORDS.encode(["higher", "</s>"])]
    found = figures(prompts, responses, torch.zeros(1))
    assert math.isnan(found["turns"])
    assert (found["found"], found["middle"]) == (0.0, 0.0)


def test_the_game_with_turns_to_spare_pays_the_sixth_guess() -> None:
    task = spare_turns_task()
    slow = "1 </s> higher 2 </s> higher 3 </s> higher 4 </s> higher 5 </s> higher 6"
    words = slow.split()
    assert task.max_turns == 6
    assert task.max_new_tokens == sum(word != "higher" for word in words) == 11
    assert task.reward([WORDS.encode(["1", "7"])], [WORDS.encode(words)]).tolist() == [0.5]
