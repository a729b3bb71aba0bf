"""How a reward function names its parameters, and the call that fits them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

PROMPTS = ("prompts", "prompt")
RESPONSES = ("completions", "completion", "responses", "response")


def by_position(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that can be called as ``f(prompts, responses)``.

    A plain function whose parameters have these names takes them by name, in whatever order, as
    TRL's reward functions do: ``f(completions, prompts)`` and ``f(completions, **columns)`` get
    what they name. Under other names the first is the prompts and the second the responses.

    Args:
        function: of texts or of ids; an object with ``__call__`` is returned as it is.

    Raises:
        TypeError: if it needs more than prompts and responses.
    """
    if not inspect.isroutine(function) and not isinstance(function, functools.partial):
        return function
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        # Some functions written in C have no signature.
        return function
    names = [p.name for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    prompt = next((name for name in names if name in PROMPTS), None)
    response = next((name for name in names if name in RESPONSES), None)
    takes_columns = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    is_exchanged = {prompt, response} <= set(names) and [prompt, response] != names[:2]
    is_trl = prompt is None and response is not None and names[0] == response and takes_columns
    if not is_exchanged and not is_trl:
        _check_required(function, parameters, names[:2])
        return function
    assert response is not None
    _check_required(function, parameters, [name for name in (prompt, response) if name])

    @functools.wraps(function)
    def call(prompts: Any, responses: Any) -> Any:
        return function(**{prompt or PROMPTS[0]: prompts, response: responses})

    return call


def _check_required(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter], given: list[str]
) -> None:
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in given
    ]
    if missing:
        name = getattr(function, "__name__", type(function).__name__)
        raise TypeError(
            f"reward {name} must need nothing but prompts and responses, got "
            f"{name}{inspect.signature(function)}; give {', '.join(missing)} a default"
        )
