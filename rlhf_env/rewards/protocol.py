"""What a reward is: a judge of finished responses, and the check on what it answers."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

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
        self.function = function
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


def as_reward(reward: Any, tokenizer: PreTrainedTokenizerBase) -> Reward:
    """Return a `Reward` for what a user calls a reward.

    What it takes is read from the annotation of its first parameter: ``str`` means texts,
    ``Tensor`` means ids. Without one a plain function is taken for one of texts, any other
    callable object for a `Reward`.

    Raises:
        TypeError: if it cannot be called.
    """
    if not callable(reward):
        raise TypeError(
            f"reward must be a function or an object with __call__, got {type(reward).__name__}"
        )
    annotation = _first_annotation(reward)
    is_plain = inspect.isroutine(reward) or isinstance(reward, functools.partial)
    if "Tensor" in annotation or not (is_plain or "str" in annotation):
        return cast(Reward, reward)
    return TextReward(cast(Any, reward), tokenizer)


def score(reward: Reward, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    """Return the checked scores of a batch, [B] float32 on the CPU.

    The reward gets copies, so one that writes into its arguments harms nobody.

    Raises:
        ValueError: if the reward answers with the wrong number of scores or a non-finite one.
    """
    try:
        answer = reward([row.clone() for row in prompts], [row.clone() for row in responses])
    except Exception as error:
        error.add_note(f"raised by reward {reward_name(reward)} on {len(responses)} responses")
        raise
    return as_scores(answer, len(responses), reward_name(reward))


def as_scores(answer: Any, count: int, name: str) -> Tensor:
    """Return ``count`` finite scores as float32, or say what the reward did wrong."""
    expected = f"reward {name} must return {count} finite numbers"
    try:
        numbers = torch.as_tensor(answer).detach()
        if numbers.is_complex():
            raise TypeError("complex numbers")
        scores = numbers.to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}, got {type(answer).__name__}: {str(answer)[:80]}") from error
    if scores.shape != (count,):
        raise ValueError(f"{expected}, got shape {list(scores.shape)}")
    for index, value in enumerate(scores.tolist()):
        if not math.isfinite(value):
            raise ValueError(f"{expected}, got {value} for response {index} of the batch")
    return scores


def reward_name(reward: Any) -> str:
    """Return what to call a reward in a message."""
    own = reward.name if isinstance(reward, TextReward) else None
    return own or getattr(reward, "__name__", type(reward).__name__)


def _first_annotation(function: Callable[..., Any]) -> str:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        # Some functions written in C do not tell.
        return ""
    return str(parameters[0].annotation) if parameters else ""
