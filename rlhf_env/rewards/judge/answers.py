"""Ways to read a number out of a language model's answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rlhf_env.checks import check_count, check_number
from rlhf_env.rewards.judge.model import Judge

# A number by itself: the 8 of "8/10", not the 4 of "GPT-4" nor the 1 of "1st".
NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?!\.?\w)")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was made of one answer."""

    value: float | None
    """The number; None where the answer cannot be read."""
    said: str = ""
    """What the judge wrote; empty where it wrote nothing."""


class Answer(Protocol):
    """How a question is answered, and how the answer is read."""

    @property
    def max_new_tokens(self) -> int:
        """Tokens that the judge may write."""
        ...

    def check(self, judge: Judge) -> None:
        """Raise ValueError if this judge cannot answer so."""
        ...

    def readings(self, judge: Judge, questions: list[Tensor]) -> list[Reading]:
        """Return one reading per question, given as token ids."""
        ...


@dataclass(frozen=True, kw_only=True)
class NumberAnswer:
    """The first number in the written answer that is within bounds."""

    minimum: float = 1.0
    """Numbers below it are passed over."""
    maximum: float = 10.0
    """Numbers above it are passed over."""
    max_new_tokens: int = 8
    """Tokens that the judge may write."""

    def __post_init__(self) -> None:
        """Refuse bounds between which there is no number."""
        check_count("max_new_tokens", self.max_new_tokens)
        check_number("minimum", self.minimum)
        check_number("maximum", self.maximum, minimum=self.minimum)

    def check(self, judge: Judge) -> None:
        """Accept every judge."""

    def readings(self, judge: Judge, questions: list[Tensor]) -> list[Reading]:
        """Return one reading per question, given as token ids."""
        texts = judge.write(questions, self.max_new_tokens)
        return [Reading(value=self.parse(text), said=text) for text in texts]

    def parse(self, text: str) -> float | None:
        """Return the first number of a text that is within bounds, None if there is none."""
        numbers = (float(found) for found in NUMBER.findall(text))
        return next((x for x in numbers if self.minimum <= x <= self.maximum), None)


@dataclass(frozen=True, kw_only=True)
class WordAnswer:
    """The value of whichever of some words comes first in the written answer."""

    values: Mapping[str, float]
    """Word -> value; words are found whole, in large or small letters."""
    max_new_tokens: int = 8
    """Tokens that the judge may write."""

    def __post_init__(self) -> None:
        """Refuse a list without words, and values that are not numbers."""
        check_count("max_new_tokens", self.max_new_tokens)
        _check_values(self.values)

    def check(self, judge: Judge) -> None:
        """Accept every judge."""

    def readings(self, judge: Judge, questions: list[Tensor]) -> list[Reading]:
        """Return one reading per question, given as token ids."""
        texts = judge.write(questions, self.max_new_tokens)
        return [Reading(value=self.parse(text), said=text) for text in texts]

    def parse(self, text: str) -> float | None:
        """Return the value of the first of the words in a text, None if there is none."""
        known = {word.casefold(): float(value) for word, value in self.values.items()}
        words = re.findall(r"\w+", text.casefold())
        return next((known[word] for word in words if word in known), None)


@dataclass(frozen=True, kw_only=True)
class LabelAnswer:
    """The expected value over the probabilities of some next tokens: Σ value · p / Σ p.

    Finer than a written number (G-Eval, arXiv:2303.16634); nothing is written, so that it can
    always be read.
    """

    values: Mapping[str, float]
    """Label -> value. Each label is one token of the judge's, with the space before it where the
    tokenizer makes that part of the token.
    """

    def __post_init__(self) -> None:
        """Refuse a list without labels, and values that are not numbers."""
        _check_values(self.values)

    @property
    def max_new_tokens(self) -> int:
        """Tokens that the judge may write."""
        return 1

    def check(self, judge: Judge) -> None:
        """Raise ValueError if a label is not one token, or two are the same one."""
        tokens = {label: judge.token_of(label) for label in self.values}
        if len(set(tokens.values())) < len(tokens):
            raise ValueError(
                f"labels must be different tokens of the judge's, got {tokens}; leave one out"
            )

    def readings(self, judge: Judge, questions: list[Tensor]) -> list[Reading]:
        """Return one reading per question, given as token ids."""
        tokens = [judge.token_of(label) for label in self.values]
        shares = judge.next_logits(questions)[:, tokens].double().softmax(dim=1)
        values = torch.tensor(list(self.values.values()), dtype=torch.float64)
        return [Reading(value=value) for value in (shares @ values).tolist()]


def readings(judge: Judge, answer: Answer, questions: Sequence[str]) -> list[Reading]:
    """Ask a judge, in batches of about one length, and count its answers.

    Args:
        judge: the language model.
        answer: how the judge answers.
        questions: B texts.

    Returns:
        B readings.

    Raises:
        ValueError: if a question is too long.
    """
    ids = [judge.question_ids(question, answer.max_new_tokens) for question in questions]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    found: dict[int, Reading] = {}
    for start in range(0, len(order), judge.batch_size):
        rows = order[start : start + judge.batch_size]
        found |= zip(rows, answer.readings(judge, [ids[row] for row in rows]), strict=True)
    judge.counts["asked"] += len(found)
    judge.counts["unreadable"] += sum(reading.value is None for reading in found.values())
    return [found[row] for row in range(len(ids))]


def _check_values(values: Mapping[str, float]) -> None:
    if len(values) < 2:
        raise ValueError(f"values must hold at least two answers, got {dict(values)!r}")
    for word, value in values.items():
        check_number(f"the value of {word!r}", value)
