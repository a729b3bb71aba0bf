"""Tasks small enough to enumerate: a language model that is a table, and a reward of token ids.

The exact answers to these tasks are computed by `rlhf_env.exact`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from rlhf_env.exact.response_tree import check_enumerable, num_states, prefixes
from rlhf_env.task import Task
from rlhf_env.tasks.table_lm import TableConfig, TableLM

EOS = 0
EOS_TEXT = "</s>"

ReferenceLogits = Callable[[tuple[int, ...]], Sequence[float]]
TokensReward = Callable[[tuple[int, ...]], float]


class TableReward:
    """A function of the response's token ids as a reward that can also judge prefixes.

    Scores are remembered: there are few responses, and studies request them repeatedly.
    """

    def __init__(self, function: TokensReward) -> None:
        """Wrap ``function(tokens) -> score``; ``tokens`` holds the EOS token where there is one."""
        self.function = function
        self._scores: dict[tuple[int, ...], float] = {}

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one score per response, [B] float64; the prompts do not matter."""
        scores = [self._score(tuple(ids.tolist())) for ids in responses]
        return torch.tensor(scores, dtype=torch.float64)

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the score of every prefix, [len + 1] float64 per response; index 0 is ()."""
        return [self._prefix_scores(tuple(ids.tolist())) for ids in responses]

    def _prefix_scores(self, tokens: tuple[int, ...]) -> Tensor:
        scores = [self._score(tokens[:t]) for t in range(len(tokens) + 1)]
        return torch.tensor(scores, dtype=torch.float64)

    def _score(self, tokens: tuple[int, ...]) -> float:
        if tokens not in self._scores:
            self._scores[tokens] = float(self.function(tokens))
        return self._scores[tokens]


def table_task(
    vocab_size: int,
    horizon: int,
    reference_logits: ReferenceLogits,
    reward: TokensReward,
    *,
    name: str = "table",
    kl_coef: float = 0.5,
) -> Task:
    """Build a task from two functions of the prefix.

    Token 0 is EOS. The one prompt is empty; the single id 0 represents it as the start token.

    Args:
        vocab_size: V >= 2, the EOS token included.
        horizon: T >= 1, the longest response in tokens.
        reference_logits: ``f(prefix) -> V numbers``, asked once for every prefix shorter than T.
        reward: ``f(tokens) -> score`` of a response. Wrappers that pay prefixes also ask it for
            the score of unfinished ones.
        name: how reports call the task.
        kl_coef: beta, the weight of the KL penalty.

    Raises:
        ValueError: if the sizes or the logits cannot be used, or there are more than a million
            responses.
    """
    for label, value, least in (("vocab_size", vocab_size, 2), ("horizon", horizon, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{label} must be an integer of at least {least}, got {value!r}")
    check_enumerable(vocab_size, horizon)
    # Making a model draws weights, which are written over; the global generator stays untouched.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        reference = TableLM(TableConfig(vocab_size=vocab_size, horizon=horizon))
        reference.lm_head.weight.copy_(_table(vocab_size, horizon, reference_logits).T)
    return Task(
        name=name,
        tokenizer=table_tokenizer(vocab_size),
        reference=reference,
        reward=TableReward(reward),
        prompts=[torch.tensor([EOS])],
        max_prompt_tokens=1,
        max_new_tokens=horizon,
        kl_coef=kl_coef,
    )


def table_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer whose token i is the word "i", and whose token 0 is EOS, "</s>"."""
    words = [EOS_TEXT, *(str(token) for token in range(1, vocab_size))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS_TEXT)


def _table(vocab_size: int, horizon: int, reference_logits: ReferenceLogits) -> Tensor:
    """Return the logits of all states, [S, V] float64."""
    table = torch.empty(num_states(vocab_size, horizon), vocab_size, dtype=torch.float64)
    continuing = list(range(1, vocab_size))
    state = 0
    for depth in range(horizon):
        for prefix in prefixes(continuing, depth):
            row = [float(logit) for logit in reference_logits(prefix)]
            if len(row) != vocab_size or not all(math.isfinite(logit) for logit in row):
                raise ValueError(
                    f"reference_logits({prefix}) must return {vocab_size} finite numbers, got {row}"
                )
            table[state] = torch.tensor(row, dtype=torch.float64)
            state += 1
    return table
