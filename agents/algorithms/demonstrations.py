"""Demonstrations: prompts with the responses that a policy is to imitate, as token ids."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlhf_env.task import Task
from rlhf_env.text.prompts import encode_prompt
from rlhf_env.text.responses import response_ids


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A prompt and its response."""

    prompt: Tensor
    """Token ids, [n]."""
    response: Tensor
    """Token ids, [m], EOS included."""


def encode_demonstrations(pairs: Sequence[tuple[Any, Any]], task: Task) -> list[Demonstration]:
    """Return demonstrations as the policy would have written them.

    Args:
        pairs: (prompt, response). A prompt is a text, a chat or token ids; a response is a text,
            to which the EOS token is added, or token ids, which are taken as they are.
        task: gives the tokenizer and the limits. Pairs that are too long are left out, and counted
            in a warning.

    Raises:
        ValueError: if an entry is not a pair, cannot be encoded, has an empty response, or none
            fits.
    """
    found = [_encode(number, pair, task) for number, pair in enumerate(pairs)]
    fitting = [
        pair
        for pair in found
        if len(pair.prompt) <= task.max_prompt_tokens and len(pair.response) <= task.max_new_tokens
    ]
    limits = f"{task.max_prompt_tokens} prompt tokens and {task.max_new_tokens} response tokens"
    if not fitting:
        raise ValueError(
            f"demonstrations must hold a pair of at most {limits}, got {len(found)} pairs and none "
            "that fits; shorten them, or raise the task's max_prompt_tokens and max_new_tokens"
        )
    if len(fitting) < len(found):
        warnings.warn(
            f"{len(found) - len(fitting)} of {len(found)} demonstrations are left out: they are "
            f"longer than {limits}",
            stacklevel=3,
        )
    return fitting


def _encode(number: int, pair: Any, task: Task) -> Demonstration:
    name = f"demonstration {number}"
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"{name} must be a pair of prompt and response, got {pair!r:.80}")
    asked, answer = pair
    prompt = encode_prompt(asked, f"the prompt of {name}", task.tokenizer)
    if isinstance(answer, str):
        response = response_ids(answer, f"the response of {name}", task.tokenizer, asked)
    else:
        response = torch.as_tensor(answer, dtype=torch.int64)
    if len(response) == 0 or (isinstance(answer, str) and not answer.strip()):
        raise ValueError(f"the response of {name} must not be empty, got {answer!r:.60}")
    return Demonstration(prompt=prompt, response=response)
