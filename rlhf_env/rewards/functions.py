"""Plain functions as rewards, of texts or of token ids, with the columns of the prompts' rows."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from torch import Tensor

from rlhf_env.rewards.scores import as_scores
from rlhf_env.rewards.signature import COMPLETION_IDS, Signature
from rlhf_env.text.prompt_rows import PromptRow, PromptRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class FunctionReward(ABC):
    """A function as a reward; it gets what its parameters name, as `Signature` reads them."""

    def __init__(self, function: Callable[..., Sequence[float]], rows: PromptRows | None) -> None:
        """Wrap a function for prompts of ``rows``; None where they are not known yet."""
        self.function = function
        self.rows = rows
        self._signature = Signature.of(function)

    @property
    def name(self) -> str:
        """The function's name, for error messages."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one score per response, [B]."""
        return self._scores(self._asked(prompts), responses)

    def with_rows(self, rows: PromptRows) -> Self:
        """Return the reward for prompts of these rows; itself if it has them already.

        Raises:
            TypeError: if the function needs a column that they do not have.
            ValueError: if two rows with the same prompt differ in a column that it names.
        """
        if rows is self.rows:
            return self
        self._signature.check(rows.names)
        for name in self._signature.columns:
            if name in rows.ambiguous:
                raise ValueError(
                    f"reward {self.name} must get one {name!r} for each prompt, got "
                    f"{rows.ambiguous[name]}; a score depends on the prompt's tokens and the "
                    "response alone: keep one of the rows"
                )
        return self._with_rows(rows)

    @abstractmethod
    def _with_rows(self, rows: PromptRows) -> Self:
        """Return the same reward for other rows."""

    @abstractmethod
    def _prompt(self, ids: Tensor, row: PromptRow | None) -> Any:
        """Return a prompt as the function reads it."""

    @abstractmethod
    def _response(self, ids: Tensor, row: PromptRow | None) -> Any:
        """Return a response as the function reads it."""

    def _asked(self, prompts: list[Tensor]) -> list[tuple[Any, PromptRow | None]]:
        rows = self.rows or PromptRows()
        pairs = [(ids, rows.of(ids)) for ids in prompts]
        return [(self._prompt(ids, row), row) for ids, row in pairs]

    def _scores(self, asked: list[tuple[Any, PromptRow | None]], responses: list[Tensor]) -> Tensor:
        said = [self._response(ids, row) for (_, row), ids in zip(asked, responses, strict=True)]
        columns = {name: [self._value(name, *one) for one in asked] for name in self._wanted()}
        if self._signature.wanted([COMPLETION_IDS]):
            columns[COMPLETION_IDS] = [ids.tolist() for ids in responses]
        prompts = [prompt for prompt, _ in asked]
        by_position, by_name = self._signature.arguments(prompts, said, columns)
        answer = self.function(*by_position, **by_name)
        return as_scores(answer, len(responses), self.name)

    def _wanted(self) -> list[str]:
        """Return the columns that the function gets."""
        rows = self.rows or PromptRows()
        self._signature.check(rows.names)
        named = self._signature.wanted(rows.names)
        return [name for name in named if name not in rows.ambiguous]

    def _value(self, name: str, prompt: Any, row: PromptRow | None) -> Any:
        if row is None and name in self._signature.required:
            raise ValueError(
                f"reward {self.name} needs the column {name!r} of a prompt's row, got the prompt "
                f"{reprlib.repr(prompt)}, which is not one of the task's; give the parameter a "
                "default to score others too"
            )
        return None if row is None else row.columns.get(name)


class TextReward(FunctionReward):
    """A plain function of texts as a reward.

    Special tokens are removed before the function sees a text. Prefix scores call the function on
    the text of every prefix. A prompt that the task was given as chat messages is handed on as
    these messages; and where the function calls its responses ``completions``, as TRL does, the
    response to it is the list of one message ``{"role": "assistant", "content": ...}``.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[float]],
        tokenizer: PreTrainedTokenizerBase,
        rows: PromptRows | None = None,
    ) -> None:
        """Wrap ``function(prompts, responses) -> scores`` for ids of ``tokenizer``."""
        super().__init__(function, rows)
        self.tokenizer = tokenizer

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the function's score of every prefix, [len + 1] per response."""
        counts = [len(ids) + 1 for ids in responses]
        pairs = zip(self._asked(prompts), counts, strict=True)
        asked = [one for one, n in pairs for _ in range(n)]
        prefixes = [ids[:t] for ids, n in zip(responses, counts, strict=True) for t in range(n)]
        return list(self._scores(asked, prefixes).split(counts))

    def _with_rows(self, rows: PromptRows) -> Self:
        return type(self)(self.function, self.tokenizer, rows)

    def _prompt(self, ids: Tensor, row: PromptRow | None) -> Any:
        messages = None if row is None else row.messages
        return self._text(ids) if messages is None else messages

    def _response(self, ids: Tensor, row: PromptRow | None) -> Any:
        text = self._text(ids)
        is_chat = row is not None and row.messages is not None
        if is_chat and self._signature.reads_messages:
            return [{"role": "assistant", "content": text}]
        return text

    def _text(self, ids: Tensor) -> str:
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=True))


class IdsReward(FunctionReward):
    """A plain function of token ids that takes its arguments by name, or columns."""

    def __init__(
        self, function: Callable[..., Sequence[float]], rows: PromptRows | None = None
    ) -> None:
        """Wrap ``function(prompts, responses) -> scores``."""
        super().__init__(function, rows)

    def _with_rows(self, rows: PromptRows) -> Self:
        return type(self)(self.function, rows)

    def _prompt(self, ids: Tensor, row: PromptRow | None) -> Tensor:
        return ids

    def _response(self, ids: Tensor, row: PromptRow | None) -> Tensor:
        return ids
