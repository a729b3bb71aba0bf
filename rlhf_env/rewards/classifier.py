"""A sequence classifier, with its own tokenizer, as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid

from rlhf_env.checks import check_count
from rlhf_env.engine.packed_pass import hidden_at
from rlhf_env.engine.placement import resolve_device
from rlhf_env.engine.pretrained import load_classifier
from rlhf_env.rewards.bradley_terry import padded
from rlhf_env.text.text_ids import chat_ids, plain_ids_of_each

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Scores of one text with and without padding may differ by this much, in float32.
_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierReward:
    """Scores prompt and response with a sequence classifier that has its own tokenizer.

    The policy's ids are decoded without special tokens and encoded again, for the classifier only.
    It reads prompt and response as a chat of a user and an assistant, through its chat template,
    or as one text if it has none. With one label the score is its logit; with several, the
    log-probability of the chosen one, in nats.

    A decoder is read at the last token by length, so scores depend neither on padding, nor on the
    pad token, nor on the rest of the batch.
    """

    model: nn.Module
    """The classifier; it is frozen and put into eval mode in place."""
    tokenizer: PreTrainedTokenizerBase
    """The classifier's."""
    policy_tokenizer: PreTrainedTokenizerBase | None = None
    """Decodes what is judged; a `Task` supplies its own."""
    label: str | int | None = None
    """Which label is good, by name or number; needed where there are several."""
    chat: bool | None = None
    """Read a chat through the template; None does so if there is a template."""
    max_length: int | None = None
    """Longest text, in the classifier's tokens; what it was built for when None."""
    batch_size: int = 32
    """Texts per pass; memory only."""

    def __post_init__(self) -> None:
        """Refuse a label, a length or a model that cannot be used."""
        check_count("batch_size", self.batch_size)
        if self.max_length is not None:
            check_count("max_length", self.max_length)
        if self.chat and self.tokenizer.chat_template is None:
            raise ValueError(
                "chat needs a template, but the classifier's tokenizer has none; leave chat out"
            )
        object.__setattr__(self, "label", _label_number(self.model.config, self.label))
        self.model.requires_grad_(False).eval()
        if self.batch_size > 1:
            self._check_padding()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        label: str | int | None = None,
        chat: bool | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
        device: str | torch.device = "auto",
    ) -> ClassifierReward:
        """Load a classifier with safetensors weights, and its tokenizer.

        Args:
            path: a local folder, or a hub id such as ``"org/model"``.
            label: which label is good, by name or number; needed where there are several.
            chat: read a chat through the template; None does so if there is a template.
            max_length: longest text, in the classifier's tokens; what it was built for when None.
            batch_size: texts per pass; memory only.
            device: "auto" takes a GPU if there is one.

        Raises:
            ValueError: if there is no such classifier or a setting cannot be used.
        """
        place = resolve_device(device)
        model, tokenizer = load_classifier(path)
        return cls(
            model=model.to(place),
            tokenizer=tokenizer,
            label=label,
            chat=chat,
            max_length=max_length,
            batch_size=batch_size,
        )

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> ClassifierReward:
        """Return the reward for ids of ``tokenizer``; itself if it knows the policy's already."""
        return self if self.policy_tokenizer else replace(self, policy_tokenizer=tokenizer)

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one score per response, [B] float32 on the CPU.

        Raises:
            ValueError: if the policy's tokenizer is not known, or a text is too long.
        """
        return self._scores(self._ids_of_each(list(zip(prompts, responses, strict=True))))

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the score of every prefix, [len + 1] per response, each read as a response."""
        prefixes = [
            (prompt, ids[:end])
            for prompt, ids in zip(prompts, responses, strict=True)
            for end in range(len(ids) + 1)
        ]
        scores = self._scores(self._ids_of_each(prefixes))
        return list(scores.split([len(ids) + 1 for ids in responses]))

    def score_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the score of whole texts, [B], read as they are without a chat template."""
        return self._scores(
            [self._fitting(ids) for ids in plain_ids_of_each(texts, "text", self.tokenizer)]
        )

    def text_ids(self, prompt: Tensor, response: Tensor) -> list[int]:
        """Return the classifier's ids of a prompt and a response given as the policy's ids."""
        return self._ids_of_each([(prompt, response)])[0]

    def _ids_of_each(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[list[int]]:
        """Return the classifier's ids of prompts and responses given as the policy's ids."""
        if self._reads_chats:
            ids = [self._chat_ids(*pair) for pair in pairs]
        else:
            # Decoded as one, or the space between prompt and response could get lost.
            whole = [self._text(torch.cat(pair)) for pair in pairs]
            ids = plain_ids_of_each(whole, "response", self.tokenizer)
        return [self._fitting(each) for each in ids]

    def _chat_ids(self, prompt: Tensor, response: Tensor) -> list[int]:
        messages = [
            {"role": "user", "content": self._text(prompt)},
            {"role": "assistant", "content": self._text(response)},
        ]
        return chat_ids(messages, "response", self.tokenizer, add_generation_prompt=False)

    def _text(self, ids: Tensor) -> str:
        if self.policy_tokenizer is None:
            raise ValueError(
                "the classifier must know the policy's tokenizer to read token ids, got none; hand "
                "it to a Task, or call its with_tokenizer(tokenizer)"
            )
        return cast(str, self.policy_tokenizer.decode(ids, skip_special_tokens=True))

    @property
    def _reads_chats(self) -> bool:
        has_template = self.tokenizer.chat_template is not None
        return has_template if self.chat is None else self.chat

    def _fitting(self, ids: list[int]) -> list[int]:
        longest = self.max_length or _context_window(self.model.config, self.tokenizer)
        if longest is not None and len(ids) > longest:
            raise ValueError(
                f"a text must have at most max_length = {longest} of the classifier's tokens, got "
                f"{len(ids)}; lower the task's max_new_tokens or max_prompt_tokens"
            )
        return ids or [self._stand_in]

    @property
    def _stand_in(self) -> int:
        """The token that an empty text, of special tokens only, is read as."""
        tokenizer = self.tokenizer
        for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
            if token is not None:
                return cast(int, token)
        return 0

    @torch.no_grad()
    def _scores(self, texts: list[list[int]]) -> Tensor:
        """Return one score per text, [B]; texts of about one length share a pass."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        scores = torch.zeros(len(texts))
        for start in range(0, len(texts), self.batch_size):
            rows = order[start : start + self.batch_size]
            logits = self._logits([texts[row] for row in rows])
            scores[rows] = _chosen(logits.float(), self.model.config, cast(int, self.label)).cpu()
        return scores

    def _logits(self, texts: list[list[int]], extra: int = 0) -> Tensor:
        """Return [B, labels]; ``extra`` more positions of padding change nothing."""
        device = next(self.model.parameters()).device
        ids, mask = padded([torch.tensor(text) for text in texts])
        ids = nn.functional.pad(ids, (0, extra))
        mask = nn.functional.pad(mask, (0, extra))
        pad = self.tokenizer.pad_token_id
        ids = ids.masked_fill(mask == 0, 0 if pad is None else cast(int, pad))
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        head = getattr(self.model, "score", None)
        if not isinstance(head, nn.Linear):
            return self.model(**inputs).logits
        # A decoder's own forward finds the last token by comparing ids with the pad token.
        last = mask.cumsum(dim=1).argmax(dim=1, keepdim=True)
        is_last = torch.zeros_like(ids, dtype=torch.bool).scatter_(1, last, True)
        trunk = cast(nn.Module, self.model.base_model)
        return head(hidden_at(trunk, inputs["input_ids"], is_last.to(device)))

    def _check_padding(self) -> None:
        text = [self._stand_in] * 2
        with torch.no_grad():
            change = (self._logits([text]) - self._logits([text], extra=3)).abs().max().item()
        if not change <= _TOLERANCE:
            raise ValueError(
                f"{type(self.model).__name__} must score a padded text like the text itself, got a "
                f"difference of {change:.2g}; set batch_size=1"
            )


def _label_number(config: Any, label: str | int | None) -> int:
    names = {int(number): str(name) for number, name in config.id2label.items()}
    listed = ", ".join(f"{name!r} ({number})" for number, name in sorted(names.items())[:20])
    if label is None and len(names) > 1:
        raise ValueError(
            f"label must say which of the classifier's {len(names)} labels is good, got none; "
            f"choose one of {listed}"
        )
    for number, name in names.items():
        if label in (None, name) or (label == number and not isinstance(label, bool)):
            return number
    raise ValueError(f"label must be one of {listed}, got {label!r}")


def _context_window(config: Any, tokenizer: PreTrainedTokenizerBase) -> int | None:
    limits = (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length)
    # A model without a limit reports None or -1, a tokenizer without one 1e30.
    known = [int(limit) for limit in limits if limit is not None and limit > 0]
    return min(known) if known else None


def _chosen(logits: Tensor, config: Any, label: int) -> Tensor:
    """Return [B] the logit of a single label, or the log-probability of one of several."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    independent = config.problem_type == "multi_label_classification"
    return (logsigmoid(logits) if independent else log_softmax(logits, dim=1))[:, label]
