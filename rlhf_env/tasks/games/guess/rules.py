"""The rules of guess: a user has drawn a number, and says whether it is higher or lower.

A turn of the agent is a number and the end of the turn. The hidden number is uniform on the range
that the prompt gives. It never enters the text, so all that can be known of it is the range that
the answers leave; the user's answers are drawn from what that range makes likely, which is the
same as to draw the number first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_env.conversation import DrawnAnswers, Outcomes
from rlhf_env.tasks.games.words import EOS, EOS_ID, Words

LARGEST = 255
"""Numbers are 1 to 255, what eight questions can tell apart."""
HIGHER, LOWER = "higher", "lower"

WORDS = Words((EOS, HIGHER, LOWER, *(str(number) for number in range(1, LARGEST + 1))))
_ANSWERS = {WORDS.id(HIGHER), WORDS.id(LOWER)}
_ZERO = WORDS.id("1") - 1


class Said(NamedTuple):
    """What a game has come to."""

    low: int
    """Smallest number that the answers leave."""
    high: int
    """Largest number that they leave."""
    guesses: tuple[int, ...]
    """Those that were answered."""
    last: int | None
    """The guess after the last answer; None if there is none, or no number."""
    is_asked: bool
    """Whether the turn of the last guess is over."""

    @property
    def chance(self) -> float:
        """The probability that the last guess is right."""
        if self.last is None or not self.low <= self.last <= self.high:
            return 0.0
        return 1.0 / (self.high - self.low + 1)


def token_of(number: int) -> int:
    """Return the token that is a number."""
    return _ZERO + number


def read(prompt: Sequence[int], history: Sequence[int]) -> Said:
    """Return what was said in a game.

    Args:
        prompt: ids of the lowest and the highest number.
        history: ids of all that was said since.
    """
    low, high = (index - _ZERO for index in prompt)
    guesses: list[int] = []
    turn: list[int] = []
    for token in history:
        if token in _ANSWERS and _is_guess(turn):
            guess = turn[0] - _ZERO
            guesses.append(guess)
            if token == WORDS.id(HIGHER):
                low = max(low, guess + 1)
            else:
                high = min(high, guess - 1)
            turn = []
        else:
            turn.append(token)
    is_number = len(turn) == 1 and turn[0] > _ZERO
    last = turn[0] - _ZERO if is_number or _is_guess(turn) else None
    return Said(low, high, tuple(guesses), last, _is_guess(turn))


def _is_guess(turn: list[int]) -> bool:
    return len(turn) == 2 and turn[0] > _ZERO and turn[1] == EOS_ID


class User(DrawnAnswers):
    """Answers guesses; ends the game when one is right, or is no guess at all."""

    def outcomes(self, prompt: tuple[int, ...], history: tuple[int, ...]) -> Outcomes:
        """Return the answers to the last guess with their probabilities."""
        said = read(prompt, history)
        if said.last is None or not said.is_asked:
            return [(1.0, None)]
        below = min(max(said.last - said.low, 0), said.high - said.low + 1)
        above = min(max(said.high - said.last, 0), said.high - said.low + 1)
        total = said.high - said.low + 1
        answers: list[tuple[float, tuple[int, ...] | None]] = [
            (below / total, (WORDS.id(LOWER),)),
            (above / total, (WORDS.id(HIGHER),)),
            (said.chance, None),
        ]
        return [(chance, answer) for chance, answer in answers if chance > 0]


class Found:
    """1 if the number was found.

    The user ends the game at a guess that is right, so a last guess whose turn is over was right.
    One that the horizon cuts short was not answered, and is paid the chance that it is right.
    """

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the scores, [B] float64 in [0, 1]."""
        rows = zip(prompts, responses, strict=True)
        scores = [_score(prompt.tolist(), response.tolist()) for prompt, response in rows]
        return torch.tensor(scores, dtype=torch.float64)


def _score(prompt: list[int], response: list[int]) -> float:
    said = read(prompt, response)
    return float(said.chance > 0) if said.is_asked else said.chance


def still_findable(prompts: list[Tensor], histories: list[Tensor], turns: int) -> Tensor:
    """Return the chance that the best player finds the number, given each guess: [B] float64.

    With t turns left 2^t − 1 numbers can be told apart. The guess is not answered yet, so this is
    the mean over its answers.

    Args:
        prompts: B ranges as ids.
        histories: ids of all that was said since, up to the end of a turn.
        turns: of a whole game.
    """
    rows = zip(prompts, histories, strict=True)
    chances = [_best_chance(prompt.tolist(), said.tolist(), turns) for prompt, said in rows]
    return torch.tensor(chances, dtype=torch.float64)


def _best_chance(prompt: list[int], history: list[int], turns: int) -> float:
    said = read(prompt, history)
    if said.last is None or not said.is_asked:
        return 0.0
    can_tell = 2 ** (turns - len(said.guesses) - 1) - 1
    total = said.high - said.low + 1
    below = min(max(said.last - said.low, 0), total)
    above = min(max(said.high - said.last, 0), total)
    return said.chance + (min(below, can_tell) + min(above, can_tell)) / total
