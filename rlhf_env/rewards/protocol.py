"""What a reward is: a function that scores finished responses; and the check of its scores."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from rlhf_env.rewards.functions import FunctionReward, IdsReward, TextReward
from rlhf_env.rewards.scores import as_scores
from rlhf_env.rewards.signature import Signature
from rlhf_env.text.prompt_rows import PromptRows

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


@runtime_checkable
class NeedsRows(Protocol):
    """A reward that reads the rows that the prompts come from, or holds rewards that do."""

    def with_rows(self, rows: PromptRows) -> Reward:
        """Return the reward for prompts of these rows; itself if nothing changes."""
        ...


def check_reward(reward: Any, columns: Collection[str] = ()) -> None:
    """Raise TypeError unless a reward can be called with prompts, responses and some columns.

    Args:
        reward: an object with ``__call__``, or a function.
        columns: of the rows that the prompts come from.
    """
    if not callable(reward):
        raise TypeError(
            f"reward must be a function or an object with __call__, got {type(reward).__name__}"
        )
    if _is_function(reward):
        Signature.of(reward).check(columns)


def as_reward(
    reward: Any, tokenizer: PreTrainedTokenizerBase, rows: PromptRows | None = None
) -> Reward:
    """Return a `Reward` for what a user calls a reward.

    Args:
        reward: an object with ``__call__``, or a function.
        tokenizer: the policy's.
        rows: that the prompts come from; None leaves a reward as it is, which may not know them
            yet.

    Raises:
        TypeError: if it cannot be called with prompts, responses and the rows' columns.
    """
    made = _for_tokenizer(reward, tokenizer)
    return made if rows is None else with_rows(made, rows)


def with_rows(reward: Reward, rows: PromptRows) -> Reward:
    """Return a reward for prompts of these rows; itself if it reads none.

    Raises:
        TypeError: if it needs a column that they do not have.
    """
    return reward.with_rows(rows) if isinstance(reward, NeedsRows) else reward


def _for_tokenizer(reward: Any, tokenizer: PreTrainedTokenizerBase) -> Reward:
    if not callable(reward):
        check_reward(reward)
    if isinstance(reward, NeedsTokenizer):
        return reward.with_tokenizer(tokenizer)
    if takes_texts(reward):
        return TextReward(cast(Any, reward), tokenizer)
    if _is_function(reward) and not Signature.of(reward).is_plain:
        return IdsReward(cast(Any, reward))
    return cast(Reward, reward)


def takes_texts(reward: Callable[..., Any]) -> bool:
    """Return whether a reward wants texts instead of ids.

    That is read from the annotation of its first parameter: ``str`` means texts, ``Tensor`` means
    ids. Without one a plain function is taken for one of texts, any other callable object for a
    `Reward`.
    """
    annotation = _first_annotation(reward)
    return "Tensor" not in annotation and (_is_function(reward) or "str" in annotation)


def _is_function(reward: Any) -> bool:
    return inspect.isroutine(reward) or isinstance(reward, functools.partial)


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


def reward_name(reward: Any) -> str:
    """Return what to call a reward in a message."""
    own = reward.name if isinstance(reward, FunctionReward) else None
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
