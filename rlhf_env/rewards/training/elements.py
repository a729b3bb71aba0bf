"""Records as token ids: what one row of a training batch is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from rlhf_env.rewards.bradley_terry import padded
from rlhf_env.rewards.feedback.prompt_and_response import Prompt
from rlhf_env.rewards.feedback.records import MarkedResponse, Record
from rlhf_env.text.prompts import encode_prompt
from rlhf_env.text.responses import response_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Target = TypeVar("Target")


@dataclass(frozen=True, kw_only=True, eq=False)
class Element(Generic[Target]):
    """One record: the texts to score, each response once, and the feedback on them."""

    prompts: tuple[Tensor, ...]
    """Ids of the prompt before each response."""
    responses: tuple[Tensor, ...]
    """Ids of the responses."""
    target: Target
    """In the form that the objective needs."""

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its response."""
        return max(len(p) + len(r) for p, r in zip(self.prompts, self.responses, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The texts of some elements, padded on the right."""

    input_ids: Tensor
    """[N, L] prompts and responses."""
    attention_mask: Tensor
    """[N, L] 1 where there is a token."""
    is_response: Tensor
    """[N, L] True at the responses' tokens."""
    sizes: tuple[int, ...]
    """Number of texts of each element; they sum to N."""

    def final(self, scores: Tensor) -> Tensor:
        """Return the score at the last token of each text, [N], of those at all, [N, L]."""
        last = self.attention_mask.sum(dim=1, keepdim=True) - 1
        return scores.gather(1, last)[:, 0]


def encode_records(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    target: Callable[[Record, PreTrainedTokenizerBase], Target],
) -> list[Element[Target]]:
    """Return the elements of records.

    Prompts and responses have the ids that an agent meets; a response ends with the end token, if
    the tokenizer has one.

    Args:
        records: of one kind.
        tokenizer: of the model that will score them.
        target: an objective's.

    Raises:
        ValueError: if a prompt has no token or a text cannot be encoded, naming the record.
    """
    elements = []
    for number, record in enumerate(records, start=1):
        prompt = prompt_ids(record.prompt, f"prompt of record {number}", tokenizer)
        name = f"response of record {number}"
        responses = [
            response_ids(text, name, tokenizer, place_of(record))
            for text in dict.fromkeys(record.responses)
        ]
        elements.append(
            Element(
                prompts=(prompt,) * len(responses),
                responses=tuple(responses),
                target=target(record, tokenizer),
            )
        )
    return elements


def prompt_ids(prompt: Prompt, name: str, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return the ids of a prompt, [P], as an environment has them."""
    return encode_prompt(list(prompt) if isinstance(prompt, tuple) else prompt, name, tokenizer)


def place_of(record: Record) -> Prompt | None:
    """Return what a record's responses continue, for `response_ids`.

    None for marked responses: their spans are counted in the characters of the response itself.
    """
    return None if isinstance(record, MarkedResponse) else record.prompt


def collate(elements: Sequence[Element[Target]], device: torch.device) -> Batch:
    """Return the texts of some elements as one batch."""
    prompts = [ids for element in elements for ids in element.prompts]
    responses = [ids for element in elements for ids in element.responses]
    texts = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    input_ids, attention_mask = padded(texts)
    starts = torch.tensor([len(prompt) for prompt in prompts])
    is_response = (torch.arange(input_ids.shape[1]) >= starts[:, None]) & attention_mask.bool()
    return Batch(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        is_response=is_response.to(device),
        sizes=tuple(len(element.responses) for element in elements),
    )
