"""A language model that is asked questions: it answers greedily, or by its next-token logits.

How answers are read is in `rlhf_env.rewards.judge.answers`, what is asked in
`rlhf_env.rewards.judge.reward`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from rlhf_env.checks import check_count
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.placement import resolve_device
from rlhf_env.engine.pretrained import load_language_model
from rlhf_env.rewards.bradley_terry import padded
from rlhf_env.text.text_ids import chat_ids, plain_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """A causal language model with its own tokenizer, run greedily through the engine's cache."""

    model: nn.Module
    """A decoder; it is frozen and put into eval mode in place."""
    tokenizer: PreTrainedTokenizerBase
    """The model's own."""
    chat: bool | None = None
    """Ask through the chat template, as the user; None does so if there is a template."""
    batch_size: int = 32
    """Questions per pass; memory only."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many answers were "asked" for and how many "unreadable", so far."""

    def __post_init__(self) -> None:
        """Refuse a model or a setting that cannot be used."""
        check_count("batch_size", self.batch_size)
        if self.chat and self.tokenizer.chat_template is None:
            raise ValueError(
                "chat needs a template, but the judge's tokenizer has none; leave chat out"
            )
        self.model.requires_grad_(False)
        # Made here, so that a model that is not a decoder is refused at once.
        _ = self._lm

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        chat: bool | None = None,
        batch_size: int = 32,
        device: str | torch.device = "auto",
    ) -> Judge:
        """Load a language model with safetensors weights, and its tokenizer.

        Args:
            path: a local folder, or a hub id such as ``"org/model"``.
            chat: ask through the chat template; None does so if there is a template.
            batch_size: questions per pass; memory only.
            device: "auto" takes a GPU if there is one.

        Raises:
            ValueError: if there is no such model or a setting cannot be used.
        """
        place = resolve_device(device)
        model, tokenizer = load_language_model(path)
        return cls(model=model.to(place), tokenizer=tokenizer, chat=chat, batch_size=batch_size)

    @cached_property
    def _lm(self) -> LanguageModel:
        return LanguageModel(self.model, len(self.tokenizer))

    @property
    def _reads_chats(self) -> bool:
        return self.tokenizer.chat_template is not None if self.chat is None else self.chat

    def question_ids(self, text: str, max_new_tokens: int) -> Tensor:
        """Return the token ids of a question; special tokens that it spells out are read as text.

        Raises:
            ValueError: if question and answer are too long for the model.
        """
        if self._reads_chats:
            ids = chat_ids([{"role": "user", "content": text}], "a question", self.tokenizer)
        else:
            ids = plain_ids(text, "a question", self.tokenizer)
        if not ids:
            raise ValueError("a question to the judge must hold a token, got none; add some text")
        window = getattr(self.model.config, "max_position_embeddings", None)
        if window is not None and len(ids) + max_new_tokens > window:
            raise ValueError(
                f"a question to the judge must have at most {window - max_new_tokens} of its "
                f"tokens, got {len(ids)}; lower the task's max_new_tokens or shorten the template"
            )
        return torch.tensor(ids)

    def token_of(self, label: str) -> int:
        """Return the one token that a label is.

        Raises:
            ValueError: if it is several, none, or unknown.
        """
        ids = plain_ids(label, "label", self.tokenizer, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise ValueError(
                f"every label must be one token of the judge's, got {label!r}, which is "
                f"{'unknown' if len(ids) == 1 else f'{len(ids)} tokens'}; choose other labels, or "
                "let the judge write: WordAnswer"
            )
        return ids[0]

    def write(self, questions: list[Tensor], max_new_tokens: int) -> list[str]:
        """Return the likeliest token after token, up to the end token or the limit, as texts."""
        ids, mask = padded(questions)
        tokens = nn.functional.pad(ids, (0, max_new_tokens)).to(self._lm.device)
        starts = mask.sum(dim=1).to(tokens.device)
        lengths, is_open = starts.clone(), torch.ones_like(starts, dtype=torch.bool)
        for _ in range(max_new_tokens):
            chosen = self._lm.next_logits(tokens, lengths).argmax(dim=1)
            is_open &= chosen != self.tokenizer.eos_token_id
            if not is_open.any():
                break
            tokens[is_open, lengths[is_open]] = chosen[is_open]
            lengths += is_open
        self._lm.engine.reset_cache()
        rows = zip(tokens, starts.tolist(), lengths.tolist(), strict=True)
        written = [row[start:end] for row, start, end in rows]
        return [cast(str, self.tokenizer.decode(row, skip_special_tokens=True)) for row in written]

    def next_logits(self, questions: list[Tensor]) -> Tensor:
        """Return the logits of the token after each question, [B, V] float32 on the CPU."""
        ids, mask = padded(questions)
        device = self._lm.device
        logits = self._lm.next_logits(ids.to(device), mask.sum(dim=1).to(device))
        self._lm.engine.reset_cache()
        return logits.cpu()
