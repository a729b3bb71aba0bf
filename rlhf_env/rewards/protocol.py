"""What a reward is: a function that scores finished responses; and the check of its scores."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from rlhf_env.rewards.signature import by_position

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Reward(Protocol):
    """A judge of finished responses, given as token ids."""

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one finite score per response, [B]."""
        ...


@runtime_checkable
class PrefixReward(Protocol):
    """A reward that can also judge unfinished responses."""

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return per response a vector [len + 1]; index t is the score after t tokens."""
        ...


@runtime_checkable
class NeedsTokenizer(Protocol):
    """A reward that turns ids into texts, or holds rewards that do; a `Task` tells it how."""

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> Reward:
        """Return the reward for ids of the policy's tokenizer; itself if it knows already."""
        ...


class TextReward:
    """A plain function of texts as a reward.

    Special tokens are removed before the function sees a text. Prefix scores call the function on
    the text of every prefix.
    """

    def __init__(
        self,
        function: Callable[[list[str], list[str]], Sequence[float]],
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        """Wrap ``function(prompts, responses) -> scores`` for ids of ``tokenizer``."""
        self.function = by_position(function)
        self.tokenizer = tokenizer

    @property
    def name(self) -> str:
        """The function's name, for error messages."""
        return reward_name(self.function)

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one score per response, [B]."""
        return self._call(self._texts(prompts), self._texts(responses))

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the function's score of every prefix, [len + 1] per response."""
        prompt_texts = self._texts(prompts)
        counts = [len(ids) + 1 for ids in responses]
        asked = [text for text, n in zip(prompt_texts, counts, strict=True) for _ in range(n)]
        prefixes = [ids[:t] for ids, n in zip(responses, counts, strict=True) for t in range(n)]
        return list(self._call(asked, self._texts(prefixes)).split(counts))

    def _call(self, prompts: list[str], responses: list[str]) -> Tensor:
        return as_scores(self.function(prompts, responses), len(responses), self.name)

    def _texts(self, ids: list[Tensor]) -> list[str]:
        return [cast(str, self.tokenizer.decode(row, skip_special_tokens=True)) for row in ids]


def check_reward(reward: Any) -> None:
    """Raise TypeError unless a reward can be called with prompts and responses."""
    if not callable(reward):
        raise TypeError(
            f"reward must be a function or an object with __call__, got {type(reward).__name__}"
        )
    by_position(reward)


def as_reward(reward: Any, tokenizer: PreTrainedTokenizerBase) -> Reward:
    """Return a `Reward` for what a user calls a reward.

    Raises:
        TypeError: if it cannot be called with prompts and responses.
    """
    check_reward(reward)
    if isinstance(reward, NeedsTokenizer):
        return reward.with_tokenizer(tokenizer)
    if takes_texts(reward):
        return TextReward(cast(Any, reward), tokenizer)
    return cast(Reward, by_position(reward))


def takes_texts(reward: Callable[..., Any]) -> bool:
    """Return whether a reward wants texts instead of ids.

    That is read from the annotation of its first parameter: ``str`` means texts, ``Tensor`` means
    ids. Without one a plain function is taken for one of texts, any other callable object for a
    `Reward`.
    """
    annotation = _first_annotation(reward)
    is_plain = inspect.isroutine(reward) or isinstance(reward, functools.partial)
    return "Tensor" not in annotation and (is_plain or "str" in annotation)


def score(
    reward: Reward, prompts: list[Tensor], responses: list[Tensor], name: str | None = None
) -> Tensor:
    """Return the checked scores of a batch, [B] float32 on the CPU.

    The reward gets copies, so that one that writes into its arguments changes nothing else; a
    working directory that it changes is changed back.

    Args:
        reward: the judge.
        prompts: B vectors of token ids.
        responses: B vectors of token ids.
        name: what messages call the reward; its own name by default.

    Raises:
        ValueError: if the reward answers with the wrong number of scores or a non-finite one.
    """
    name = name or reward_name(reward)
    try:
        with _same_working_directory():
            answer = reward(_copies(prompts), _copies(responses))
    except Exception as error:
        error.add_note(f"raised by reward {name} on {len(responses)} responses")
        raise
    return as_scores(answer, len(responses), name)


def as_scores(answer: Any, count: int, name: str) -> Tensor:
    """Return ``count`` finite scores as float32, or raise naming what is wrong."""
    expected = f"reward {name} must return {count} finite numbers"
    try:
        numbers = torch.as_tensor(answer).detach()
        if numbers.is_complex() or numbers.layout != torch.strided:
            raise TypeError("complex or sparse numbers")
        scores = numbers.to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}, got {_first_flaw(answer)}") from error
    if scores.shape != (count,):
        raise ValueError(f"{expected}, got shape {list(scores.shape)}")
    for index, value in enumerate(scores.tolist()):
        if not math.isfinite(value):
            raise ValueError(f"{expected}, got {value} for response {index} of the batch")
    return scores


def _first_flaw(answer: Any) -> str:
    """Return the first non-numeric score, or the answer itself."""
    for index, value in enumerate(answer if isinstance(answer, list | tuple) else ()):
        try:
            is_number = torch.as_tensor(value).numel() == 1
        except (TypeError, ValueError, RuntimeError):
            is_number = False
        if not is_number:
            return f"{reprlib.repr(value)} for response {index} of the batch"
    return f"{type(answer).__name__}: {reprlib.repr(answer)}"


def reward_name(reward: Any) -> str:
    """Return what to call a reward in a message."""
    own = reward.name if isinstance(reward, TextReward) else None
    return own or getattr(reward, "__name__", type(reward).__name__)


@contextlib.contextmanager
def _same_working_directory() -> Iterator[None]:
    # None if it was removed; there is nothing to return to then.
    before = _working_directory()
    try:
        yield
    finally:
        # Only after a change: the working directory is that of every thread.
        if before is not None and _working_directory() != before:
            os.chdir(before)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _copies(rows: list[Tensor]) -> list[Tensor]:
    """Return the rows in memory of their own, copied at once."""
    if not rows:
        return []
    return list(torch.cat(rows).split([len(row) for row in rows]))


def _first_annotation(function: Callable[..., Any]) -> str:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        # Some functions written in C have no signature.
        return ""
    return str(parameters[0].annotation) if parameters else ""
