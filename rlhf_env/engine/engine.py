"""Next-token logits of many growing texts at the cost of one token each.

`Engine` is a memo: ``engine(tokens, lengths)`` depends on its arguments and the model's present
weights, nothing else. It keeps a key/value cache per row, finds out by itself how much of each
row it knows already, and forgets everything when a weight changes. Deleting the engine changes
only the time that the next call takes.

A model runs in one of four ways, which agree up to rounding:

- fused decode (`fused_decoder`): the prefill of new texts and one more token of each row, for small
  unmodified models of the Llama family in float32.
- cached step (`row_cache`): the same of any other model, through clones of its modules.
- packed pass (`packed_pass`): finished texts, scored or trained on, without padding and with a
  shared prompt computed once; small Llamas on CPUs a layer at a time (`fused.trunk`). It is
  `LanguageModel`'s way, not the engine's.
- plain forward: whole padded texts, where a model takes no cache per row or cannot be packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rlhf_env.engine.compat import is_modified
from rlhf_env.engine.fused_decoder import FusedDecoder, supports_fused_decode
from rlhf_env.engine.module_view import clone_modules
from rlhf_env.engine.packing import distinct_texts
from rlhf_env.engine.row_cache import RowCache, supports_row_cache
from rlhf_env.engine.weight_fingerprint import WeightFingerprint


class Engine:
    """Cached next-token logits of a causal language model.

    Each row is compared with the contents of its slot. One more token is decoded; any other text is
    prefilled from its start, once for all rows that share it, so that the answer does not depend,
    not even in its last bit, on the slot's earlier contents. In conversations (`extends`) a text
    that has grown by several tokens is continued where it ended. Models without a usable key/value
    cache are run on the whole text, with one warning and the same numbers.
    """

    extends: bool = False
    """Whether texts that have grown by several tokens at once are run from there on; the answer
    then depends in its last bits on how a text has grown."""

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
        self._is_trusting = False
        self._have_grown = False

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of each row's next token.

        Args:
            tokens: [N, L] int64, padded on the right.
            lengths: [N] int64, how many tokens of each row count, each in 1..L.

        Returns:
            [N, V] float32 logits of the token after the first ``lengths[i]``; fresh memory.
        """
        return self.logits_view(tokens, lengths).clone()

    @torch.no_grad()
    def logits_view(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return what `__call__` does without the copy, to be read before the next call only."""
        have_grown, self._have_grown = self._have_grown, False
        if not self.caches(tokens.shape[1]):
            return self._full_forward(tokens, lengths)
        memory = self._memory
        if have_grown and memory is not None and len(tokens) == len(memory.tokens):
            return self._grown(memory, tokens, lengths)
        return self._cached(tokens, lengths)

    def assume_grown(self) -> None:
        """Do not compare texts in the next call.

        The caller guarantees that its rows are those of the last call, each with one more token.
        """
        self._have_grown = True

    @torch.inference_mode()
    def decode_token(self, ids: Tensor, positions: Tensor, span: int) -> Tensor:
        """Return the logits after one more token of every row, without waiting for the device.

        The rows are those of the last call, whose texts must have been prefilled by it; what the
        engine remembers of them is stale afterwards, and `reset_cache` is the caller's.

        Args:
            ids: [N] the tokens.
            positions: [N] their positions.
            span: more than the largest of them; what is behind a row's own is not seen.

        Returns:
            [N, V] float32.
        """
        memory = self._memory
        assert memory is not None, "the texts are prefilled first"
        rows = torch.arange(len(ids), device=ids.device)
        where = positions[:, None]
        memory.cache.prepare_token(rows, where, span)
        return self._logits_after(memory, ids[:, None], where)

    def caches(self, capacity: int) -> bool:
        """Return whether texts of up to ``capacity`` tokens are cached."""
        if capacity not in self._uses_cache:
            self._uses_cache[capacity] = supports_row_cache(self.model, capacity)
        return self._uses_cache[capacity]

    @torch.inference_mode()
    def copy_row(self, source: int, target: int) -> None:
        """Copy one row's cache to another, for a caller that is about to swap their texts."""
        if self._memory is not None:
            rows = torch.tensor([[source], [target]], device=self._memory.tokens.device)
            self._memory.copy_rows(*rows)

    @torch.inference_mode()
    def forget_row(self, row: int) -> None:
        """Forget one row's text: what follows is another one, however it begins."""
        if self._memory is not None and row < len(self._memory.lengths):
            self._memory.lengths[row] = 0

    @contextmanager
    def assume_frozen(self) -> Iterator[None]:
        """Do not look for changed weights: the caller guarantees that they stay fixed."""
        self._is_trusting, before = True, self._is_trusting
        try:
            yield
        finally:
            self._is_trusting = before

    def reset_cache(self) -> None:
        """Drop the cache; the next call computes everything anew."""
        self._memory, self._have_grown = None, False

    def __getstate__(self) -> dict[str, object]:
        """Leave the cache out of copies and pickles."""
        return {**self.__dict__, "_memory": None}

    # What is made here is never learned from; without the book-keeping for gradients a small model
    # takes a tenth less time.
    @torch.inference_mode()
    def _cached(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        memory = self._remember(tokens)
        known = memory.cached_lengths(tokens, lengths, extends=self.extends)
        missing = lengths - known
        decode, is_long = missing == 1, missing > 1
        prefill = (is_long & (known == 0)).nonzero().flatten()
        extend = (is_long & (known > 0)).nonzero().flatten()
        # Should the model raise, the rows it was about to overwrite are no longer valid.
        memory.lengths = known.clone()
        if decode.any():
            self._decode(memory, decode, tokens, lengths)
        if len(extend):
            self._prefill(memory, extend, tokens, lengths, known)
        if len(prefill):
            first, same = distinct_texts(tokens[prefill], lengths[prefill])
            self._prefill(memory, prefill[first], tokens, lengths, known)
            memory.copy_rows(prefill[first][same], prefill)
        return memory.logits

    @torch.inference_mode()
    def _grown(self, memory: _Memory, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits after the last token of every row, before which all are known."""
        rows, positions = torch.arange(len(tokens), device=tokens.device), lengths[:, None] - 1
        shortest, longest = (int(length) for length in lengths.aminmax())
        # Should the model raise, nothing is known.
        self._memory = None
        memory.cache.prepare_token(rows, positions, longest, is_common=shortest == longest)
        logits = self._logits_after(memory, tokens.gather(1, positions), positions)
        memory.logits, memory.tokens, memory.lengths = logits, tokens.clone(), lengths.clone()
        self._memory = memory
        return logits

    def _remember(self, tokens: Tensor) -> _Memory:
        memory = self._memory
        if memory is None or not memory.fits(tokens, self.model, self._is_trusting):
            memory = _Memory.empty(tokens, self.vocab_size, self.model)
            self._memory = memory
        elif len(tokens) < len(memory.tokens):
            memory.truncate_rows(len(tokens))
        return memory

    def _decode(self, memory: _Memory, is_new: Tensor, tokens: Tensor, lengths: Tensor) -> None:
        """Run the model on the last token of some rows.

        Where most rows take part, the others are run along: that costs less than copying the keys
        and values of those that do.
        """
        rows = is_new.nonzero().flatten()
        if 2 * len(rows) >= len(tokens):
            rows = torch.arange(len(tokens), device=tokens.device)
        positions = lengths[rows, None] - 1
        logits = self._run(memory, rows, tokens, positions, is_new[rows, None])
        memory.store(rows, is_new[rows], logits, tokens, lengths)

    def _prefill(
        self, memory: _Memory, rows: Tensor, tokens: Tensor, lengths: Tensor, known: Tensor
    ) -> None:
        """Run the model on what is not known of some rows' texts."""
        width = int((lengths - known)[rows].max())
        # Right-aligned, so that the last column is every row's last token: one projection each.
        positions = lengths[rows, None] - width + torch.arange(width, device=tokens.device)
        is_new = positions >= known[rows, None]
        logits = self._run(memory, rows, tokens, positions.clamp(min=0), is_new)
        memory.store(rows, is_new[:, -1], logits, tokens, lengths)

    def _run(
        self, memory: _Memory, rows: Tensor, tokens: Tensor, positions: Tensor, is_new: Tensor
    ) -> Tensor:
        """Return the logits after the last of the tokens at some positions, [R, V]."""
        ids = tokens[rows].gather(1, positions)
        memory.cache.prepare(rows, positions, is_new)
        return self._logits_after(memory, ids, positions)

    def _logits_after(self, memory: _Memory, ids: Tensor, positions: Tensor) -> Tensor:
        """Return the logits after the last of some tokens, for which the cache is prepared."""
        cache = memory.cache
        if memory.fused is not None:
            return memory.fused(ids, positions, cache)[:, : self.vocab_size]
        output = memory.clone(
            input_ids=ids,
            position_ids=positions,
            attention_mask=cache.mask(memory.dtype),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1, : self.vocab_size].float()

    def _full_forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        width = int(lengths.max())
        mask = torch.arange(width, device=tokens.device) < lengths[:, None]
        output = self.model(input_ids=tokens[:, :width], attention_mask=mask.long())
        last = output.logits[torch.arange(len(tokens), device=tokens.device), lengths - 1]
        return last[:, : self.vocab_size].float()


@dataclass(kw_only=True)
class _Memory:
    """What an engine holds of each row."""

    tokens: Tensor
    """[N, L] the texts in the cache."""
    lengths: Tensor
    """[N] how many tokens of each are in the cache."""
    logits: Tensor
    """[N, V] the next-token logits after them."""
    cache: RowCache
    """The keys and values."""
    weights: WeightFingerprint
    """Those that computed them."""
    clone: nn.Module
    """The modules that compute."""
    fused: FusedDecoder | None
    """Computes in fewer operations than the modules; None where it cannot."""
    dtype: torch.dtype
    """Of the weights."""

    @classmethod
    def empty(cls, tokens: Tensor, vocab_size: int, model: nn.Module) -> _Memory:
        count, capacity = tokens.shape
        return cls(
            tokens=tokens.clone(),
            lengths=tokens.new_zeros(count),
            logits=tokens.new_zeros((count, vocab_size), dtype=torch.float32),
            cache=RowCache(count, capacity),
            weights=WeightFingerprint(model),
            clone=clone_modules(model),
            fused=FusedDecoder(model) if supports_fused_decode(model) else None,
            dtype=next(model.parameters()).dtype,
        )

    def fits(self, tokens: Tensor, model: nn.Module, is_trusting: bool) -> bool:
        return (
            len(tokens) <= len(self.tokens)
            and tokens.shape[1] == self.tokens.shape[1]
            and self.tokens.device == tokens.device
            and (is_trusting or self._computes_as(model))
        )

    def _computes_as(self, model: nn.Module) -> bool:
        """Return whether the model has the weights, and nothing that the fused pass would miss."""
        is_current = self.fused is None or not any(map(is_modified, model.modules()))
        return is_current and self.weights.matches(model)

    def cached_lengths(self, tokens: Tensor, lengths: Tensor, *, extends: bool) -> Tensor:
        """[N] how many leading tokens of each row need no computation.

        All of them where a row asks again, all but one where it has grown by a token, or all but
        the new ones if ``extends``; else none.
        """
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        differs = (tokens != self.tokens) & (columns < self.lengths[:, None])
        grown = lengths - self.lengths
        continues = ~differs.any(1) & (grown >= 0)
        if not extends:
            continues &= grown <= 1
        return torch.where(continues, self.lengths, 0)

    def store(
        self, rows: Tensor, is_new: Tensor, logits: Tensor, tokens: Tensor, lengths: Tensor
    ) -> None:
        """Store texts and logits of the rows that are new."""
        if is_new.all() and len(rows) == len(self.tokens):
            self.logits, self.tokens, self.lengths = logits, tokens.clone(), lengths.clone()
            return
        rows = rows[is_new]
        self.logits[rows] = logits[is_new]
        self.tokens[rows] = tokens[rows]
        self.lengths[rows] = lengths[rows]

    def truncate_rows(self, count: int) -> None:
        """Forget all rows but the first ``count``."""
        self.tokens, self.lengths = self.tokens[:count], self.lengths[:count]
        self.logits = self.logits[:count]
        self.cache.truncate_rows(count)

    def copy_rows(self, sources: Tensor, targets: Tensor) -> None:
        """Copy each source row to its target row."""
        others = sources != targets
        if not others.any():
            return
        sources, targets = sources[others], targets[others]
        self.cache.copy_rows(sources, targets, int(self.lengths[sources].max()))
        for field in (self.tokens, self.lengths, self.logits):
            field[targets] = field[sources]
