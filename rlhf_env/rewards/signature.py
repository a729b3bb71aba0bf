"""How a reward function names its parameters, and the call that fits them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

PROMPTS = ("prompts", "prompt")
# As TRL calls them; under a chat they are lists of messages there.
COMPLETIONS = ("completions", "completion")
RESPONSES = (*COMPLETIONS, "responses", "response")
# Not of the data set: the responses' token ids, which TRL hands on too.
COMPLETION_IDS = "completion_ids"


@dataclass(frozen=True)
class Signature:
    """Which parameters of a reward function get prompts, responses and columns.

    A function whose parameters are called prompts and completions (or responses) takes them by
    name, in whatever order, as TRL's reward functions do. Under other names the first is the
    prompts and the second the responses. All further parameters are columns of the prompts' rows.
    """

    name: str
    """Of the function, with its parameters, for messages."""
    by_name: bool
    """Whether prompts and responses are passed by name."""
    prompt: str | None
    """The parameter for the prompts; None where the function takes none by name."""
    response: str | None
    """The parameter for the responses; None where it has another name."""
    columns: tuple[str, ...]
    """Further parameters."""
    required: tuple[str, ...]
    """Those of ``columns`` without a default."""
    takes_all: bool
    """Whether it takes whatever columns there are (``**columns``)."""
    takes_both: bool
    """Whether it can be given prompts and responses at all."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Self:
        """Read the parameters of a function; one written in C may not tell them."""
        tells = True
        try:
            parameters = inspect.signature(function).parameters
        except ValueError:
            parameters, tells = {}, False
        single = {n: p for n, p in parameters.items() if p.kind not in _VARIABLE}
        names = list(single)
        prompt = next((name for name in names if name in PROMPTS), None)
        response = next((name for name in names if name in RESPONSES), None)
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        is_exchanged = {prompt, response} <= set(names) and [prompt, response] != names[:2]
        has_completions_first = prompt is None and response is not None and names[0] == response
        by_name = is_exchanged or has_completions_first
        if has_completions_first and takes_all:
            prompt = PROMPTS[0]
        positions = [n for n in names if single[n].kind in _BY_POSITION]
        is_open = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
        taken = {prompt, response} if by_name else set(names[:2])
        further = [n for n in names if n not in taken and single[n].kind in _BY_NAME]
        own = getattr(function, "__name__", type(function).__name__)
        return cls(
            name=f"{own}{inspect.signature(function)}" if tells else own,
            by_name=by_name,
            prompt=prompt,
            response=response if by_name or response == "".join(names[1:2]) else None,
            columns=tuple(further),
            required=tuple(n for n in further if single[n].default is inspect.Parameter.empty),
            takes_all=takes_all,
            takes_both=by_name or is_open or not tells or len(positions) >= 2,
        )

    @property
    def is_plain(self) -> bool:
        """Whether ``function(prompts, responses)`` is all that it can be called with."""
        return not (self.by_name or self.columns or self.takes_all)

    @property
    def reads_messages(self) -> bool:
        """Whether responses to chats are given as messages, as TRL's ``completions`` are."""
        return self.response in COMPLETIONS

    def wanted(self, available: Collection[str]) -> list[str]:
        """Return which of the columns that there are the function takes."""
        return [name for name in available if self.takes_all or name in self.columns]

    def check(self, available: Collection[str]) -> None:
        """Refuse a function that needs more than prompts, responses and the columns there are.

        Raises:
            TypeError: with what it needs, or if it cannot take both prompts and responses.
        """
        if not self.takes_both:
            raise TypeError(
                f"reward {self.name.partition('(')[0]} must take prompts and responses, "
                f"got {self.name}; write f(prompts, responses)"
            )
        missing = [name for name in self.required if name not in {*available, COMPLETION_IDS}]
        if missing:
            columns = f"prompts, responses and the columns {sorted(available)}"
            known = columns if available else "prompts and responses"
            raise TypeError(
                f"reward {self.name.partition('(')[0]} must need nothing but {known}, got "
                f"{self.name}; give {', '.join(missing)} a default, or prompts that are rows with "
                "such a column"
            )

    def arguments(
        self, prompts: list[Any], responses: list[Any], columns: Mapping[str, list[Any]]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the function is called with, by position and by name.

        Args:
            prompts: of B responses.
            responses: B.
            columns: those of `wanted`, B values each.
        """
        if not self.by_name:
            return (prompts, responses), dict(columns)
        asked = {} if self.prompt is None else {self.prompt: prompts}
        assert self.response is not None
        return (), {**asked, self.response: responses, **columns}


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
