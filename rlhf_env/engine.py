"""Next-token logits of many growing texts at the price of one token each.

`Engine` is a memo: ``engine(tokens, lengths)`` depends on its arguments and the model's present
weights, nothing else. It keeps a key/value cache per row, finds out by itself how much of each
row it knows already, and forgets everything when a weight changes. Deleting the engine changes
only the time that the next call takes.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rlhf_env.row_cache import RowCache
from rlhf_env.weights import Weights


class Engine:
    """Cached next-token logits of a causal language model.

    A row is compared with what its slot holds. One more token is decoded; any other text is
    prefilled from its start, once for all rows that share it, so that the answer does not depend,
    not even in its last bit, on what the slot held before. Models without a usable key/value
    cache are run on the whole text, with one warning and the same numbers.
    """

    def __init__(self, model: nn.Module, vocab_size: int) -> None:
        """Make an engine.

        Args:
            model: a causal language model, in eval mode.
            vocab_size: V; wider logits are cut to the first V, so that padding of the
                vocabulary gets no probability.
        """
        self.model = model
        self.vocab_size = vocab_size
        self._memory: _Memory | None = None
        self._uses_cache: dict[int, bool] = {}

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of each row's next token.

        Args:
            tokens: [N, L] int64, padded on the right.
            lengths: [N] int64, how many tokens of each row count, each in 1..L.

        Returns:
            [N, V] float32 logits of the token after the first ``lengths[i]``; fresh memory.
        """
        return self.lend(tokens, lengths).clone()

    @torch.no_grad()
    def lend(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return what `__call__` does without the copy, to be read before the next call only."""
        capacity = tokens.shape[1]
        if capacity not in self._uses_cache:
            self._uses_cache[capacity] = supports_row_cache(self.model, capacity)
        if not self._uses_cache[capacity]:
            return self._full_forward(tokens, lengths)
        memory = self._remember(tokens)
        known = memory.known(tokens, lengths)
        missing = lengths - known
        decode = (missing == 1).nonzero().flatten()
        prefill = (missing > 1).nonzero().flatten()
        # Should the model raise, what it was about to overwrite must not be trusted any more.
        memory.lengths = known.clone()
        if len(decode):
            self._extend(memory, decode, tokens, lengths, known)
        if len(prefill):
            first, same = _distinct_texts(tokens[prefill], lengths[prefill])
            self._extend(memory, prefill[first], tokens, lengths, known)
            memory.share(prefill[first][same], prefill)
        return memory.logits

    def forget(self) -> None:
        """Drop the cache; the next call computes everything anew."""
        self._memory = None

    def __getstate__(self) -> dict[str, object]:
        """Leave the cache out of copies and pickles."""
        return {**self.__dict__, "_memory": None}

    def _remember(self, tokens: Tensor) -> _Memory:
        memory = self._memory
        if memory is None or not memory.fits(tokens, self.model):
            memory = _Memory.empty(tokens, self.vocab_size, self.model)
            self._memory = memory
        return memory

    def _extend(
        self, memory: _Memory, rows: Tensor, tokens: Tensor, lengths: Tensor, known: Tensor
    ) -> None:
        """Run the model on the unknown end of some rows, and store what it says."""
        start, end = known[rows], lengths[rows]
        width = int((end - start).max())
        # Right-aligned, so that the last column is every row's last token: one projection each.
        positions = end[:, None] - width + torch.arange(width, device=tokens.device)
        is_new = positions >= start[:, None]
        held = positions.clamp(min=0)
        chunk = tokens[rows].gather(1, held)
        output = self.model(
            input_ids=chunk,
            position_ids=held,
            attention_mask=memory.cache.begin(rows, held, is_new, self.model),
            past_key_values=memory.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1, : self.vocab_size].float()
        if len(rows) == len(memory.logits):
            memory.logits = logits
        else:
            memory.logits[rows] = logits
        memory.tokens[rows] = tokens[rows]
        memory.lengths[rows] = end

    def _full_forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        width = int(lengths.max())
        mask = torch.arange(width, device=tokens.device) < lengths[:, None]
        output = self.model(input_ids=tokens[:, :width], attention_mask=mask.long())
        last = output.logits[torch.arange(len(tokens), device=tokens.device), lengths - 1]
        return last[:, : self.vocab_size].float()


@dataclass(kw_only=True)
class _Memory:
    """What an engine holds of each row.

    Attributes:
        tokens: [N, L] the texts that the cache speaks of.
        lengths: [N] how many tokens of each are in the cache.
        logits: [N, V] the next-token logits after them.
        cache: the keys and values.
        weights: those that computed them.
    """

    tokens: Tensor
    lengths: Tensor
    logits: Tensor
    cache: RowCache
    weights: Weights

    @classmethod
    def empty(cls, tokens: Tensor, vocab_size: int, model: nn.Module) -> _Memory:
        count, capacity = tokens.shape
        return cls(
            tokens=tokens.clone(),
            lengths=tokens.new_zeros(count),
            logits=tokens.new_zeros((count, vocab_size), dtype=torch.float32),
            cache=RowCache(count, capacity),
            weights=Weights(model),
        )

    def fits(self, tokens: Tensor, model: nn.Module) -> bool:
        return (
            self.tokens.shape == tokens.shape
            and self.tokens.device == tokens.device
            and self.weights.are_those_of(model)
        )

    def known(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """[N] how many leading tokens of each row need no computation.

        All of them where a row asks again, all but one where it has grown by a token, else none.
        """
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        differs = (tokens != self.tokens) & (columns < self.lengths[:, None])
        grown = lengths - self.lengths
        continues = ~differs.any(1) & ((grown == 0) | (grown == 1))
        return torch.where(continues, self.lengths, 0)

    def share(self, sources: Tensor, targets: Tensor) -> None:
        """Give each target row what its source row holds."""
        others = sources != targets
        if not others.any():
            return
        sources, targets = sources[others], targets[others]
        self.cache.copy_rows(sources, targets)
        for field in (self.tokens, self.lengths, self.logits):
            field[targets] = field[sources]


def _distinct_texts(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first row of each distinct text [K], and which of them each row equals [R]."""
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    texts = tokens.masked_fill(columns >= lengths[:, None], -1)
    _, same = torch.unique(texts, dim=0, return_inverse=True)
    equal = same[:, None] == torch.arange(int(same.max()) + 1, device=tokens.device)
    first, order = equal.int().argmax(0).sort()
    return first, order.argsort()[same]


def supports_row_cache(model: nn.Module, capacity: int) -> bool:
    """Return whether texts of up to ``capacity`` tokens of this model can be cached by row.

    A model that ought to and cannot is named in a warning; an architecture that knows no cache,
    in its configuration as in its ``forward``, makes no promise to break.
    """
    parameters = inspect.signature(model.forward).parameters
    config = getattr(model, "config", None)
    if "past_key_values" not in parameters and not getattr(config, "use_cache", False):
        return False
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    window = min((window for window in windows if window is not None), default=capacity)
    attention = getattr(config, "_attn_implementation", "eager")
    reason = None
    if not {"past_key_values", "position_ids", "logits_to_keep"} <= parameters.keys():
        reason = "has no key/value cache of the usual form"
    elif getattr(model, "_is_stateful", False):
        reason = "keeps a state that cannot be rewound"
    elif attention not in ("eager", "sdpa"):
        reason = f"runs with {attention!r} attention, which takes no mask of its own per row"
    elif window < capacity:
        reason = f"attends to a window of {window} tokens, fewer than the {capacity} of an episode"
    if reason is not None:
        warnings.warn(
            f"{type(model).__name__} {reason}; every step runs the whole text", stacklevel=3
        )
    return reason is None
