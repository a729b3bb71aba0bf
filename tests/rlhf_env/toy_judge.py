"""A language model that answers by a function of the words it has read: a judge one can foresee."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

WORDS = ["<pad>", "</s>", "<unk>", "yes", "no", "A", "B", "tie", "good", "bad", "cold"]
WORDS += ["<response>", "</response>", "<response_a>", "<response_b>", "</response_b>"]
WORDS += ["I", "7,", *map(str, range(11))]
# From the words read so far to the logits of the next one; a word not named gets 0.
Reply = Callable[[list[str]], Mapping[str, float]]


def judge_tokenizer() -> PreTrainedTokenizerFast:
    """Words between spaces; what is not in the list is unknown."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


class Reader(nn.Module):
    """The trunk: at every position the logits of the reply to the words up to there."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply

    def forward(self, input_ids: Tensor, use_cache: bool | None = None) -> SimpleNamespace:
        hidden = torch.zeros(*input_ids.shape, len(WORDS))
        for row, ids in enumerate(input_ids.tolist()):
            words = [WORDS[i] for i in ids]
            for end in range(len(words)):
                for word, logit in self.reply(words[: end + 1]).items():
                    hidden[row, end, WORDS.index(word)] = logit
        return SimpleNamespace(last_hidden_state=hidden)


class ScriptedLM(PreTrainedModel):
    """A decoder without a cache whose logits are its trunk's output."""

    config_class = PretrainedConfig
    base_model_prefix = "trunk"

    def __init__(self, reply: Reply, window: int = 512) -> None:
        config = PretrainedConfig(use_cache=False, tie_word_embeddings=False)
        config.max_position_embeddings = window
        super().__init__(config)
        self.trunk = Reader(reply)
        self.lm_head = nn.Linear(len(WORDS), len(WORDS), bias=False)
        with torch.no_grad():
            self.lm_head.weight.copy_(torch.eye(len(WORDS)))

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def forward(self, input_ids: Tensor, attention_mask: Any = None) -> SimpleNamespace:
        return SimpleNamespace(logits=self.lm_head(self.trunk(input_ids).last_hidden_state))
