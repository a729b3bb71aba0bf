"""One causal language model, evaluated in the two ways that this project needs.

Step by step, ``next_logits`` goes through the engine's cache. On finished texts, ``packed_hidden``
runs the trunk once, without computing padding, and ``statistics`` projects only the wanted
positions onto the vocabulary, a chunk at a time, so that logits [B, L, V] never exist. ``hidden``
is the slow equivalent of ``packed_hidden``.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from rlhf_env.engine.compat import is_modified
from rlhf_env.engine.engine import Engine
from rlhf_env.engine.matmul import linear
from rlhf_env.engine.packed_pass import hidden_at
from rlhf_env.engine.packing import length_batches as length_batches
from rlhf_env.engine.projection import Statistics, chunk_rows, project, row_count, statistics


class LanguageModel:
    """A Hugging Face decoder with its engine, its trunk and its projection apart."""

    def __init__(
        self,
        model: nn.Module,
        vocab_size: int,
        *,
        gradient_checkpointing: bool = False,
        shares_prompts: bool = True,
        flex_attention: bool = True,
    ) -> None:
        """Take a model apart.

        Args:
            model: a causal language model; its mode is set to eval, so that dropout is off.
            vocab_size: V, the ids that may be chosen; wider logits are cut to it.
            gradient_checkpointing: let `packed_hidden` run every layer again for the gradient
                instead of keeping what it computed.
            shares_prompts: let `packed_hidden` run a prompt once for all its responses.
            flex_attention: on a GPU, let all texts of `packed_hidden` attend by one call a layer,
                where the model allows it.

        Raises:
            ValueError: if it is not a decoder-only Hugging Face model, answers with fewer than V
                logits, or changes its logits after the output embedding in a way that
                `statistics` would miss.
        """
        _check_decoder(model)
        self.model = model.eval()
        self.vocab_size = vocab_size
        self.gradient_checkpointing = gradient_checkpointing
        self.shares_prompts = shares_prompts
        self.flex_attention = flex_attention
        self.engine = Engine(model, vocab_size)
        self._trunk: PreTrainedModel = model.base_model  # type: ignore[assignment]
        self._head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
        self._check_projection()

    @property
    def hidden_size(self) -> int:
        """H, the width of the trunk's output."""
        return self._head.weight.shape[1]  # type: ignore[union-attr,index,return-value]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def next_logits(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of each row's next token, [N, V] float32; see `Engine`."""
        return self.engine(tokens, lengths)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the trunk's output, [B, L, H].

        Args:
            tokens: [B, L] padded on the right: under causal attention no real position sees the
                padding, so no mask is needed.
        """
        return self._trunk(input_ids=tokens, use_cache=False).last_hidden_state

    def packed_hidden(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the trunk's output at some positions, [M, H], row by row, without any padding.

        Each text ends at its last wanted position. The numbers are those of `hidden` up to
        rounding; see `rlhf_env.engine.packed_pass`.

        Args:
            tokens: [B, L] padded on the right.
            wanted: [B, L] bool, at least one in every row.
        """
        again = self.gradient_checkpointing and torch.is_grad_enabled()
        return hidden_at(
            self._trunk,
            tokens,
            wanted,
            shares_prefixes=self.shares_prompts,
            recomputes_layers=again,
            may_flex=self.flex_attention,
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Project trunk outputs [M, H] onto the vocabulary, [M, V] float32."""
        return self._full_logits(hidden)[:, : self.vocab_size].float()

    def statistics(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> Statistics:
        """Return log-probability, entropy and normalizer of the next token at some positions.

        Args:
            hidden: [M, H] trunk outputs.
            targets: [M] the tokens that followed.
            temperature: divides the logits.

        Returns:
            [M] log p(target), [M] entropy and [M] log-normalizer, in nats, float32.
        """
        if self._has_plain_head:
            return project(hidden, *self._plain_head(), targets, temperature)
        chunk = chunk_rows(self.vocab_size)
        if len(targets) <= chunk:
            return self._project(hidden, targets, temperature)
        parts = []
        for rows, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            if torch.is_grad_enabled():
                part = checkpoint(self._project, rows, wanted, temperature, use_reentrant=False)
            else:
                part = self._project(rows, wanted, temperature)
            parts.append(part)
        return Statistics(*map(torch.cat, zip(*parts, strict=True)))

    def logprob_and_entropy(
        self, hidden: Tensor, targets: Tensor, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return the first two of `statistics`, [M] and [M]."""
        return self.statistics(hidden, targets, temperature)[:2]

    @torch.no_grad()
    def logprobs(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the log-probabilities of `logprob_and_entropy` alone, [M], without gradient."""
        chunk = chunk_rows(self.vocab_size)
        return torch.cat(
            [
                token_logprobs(self._quick_logits(rows), wanted, temperature)
                for rows, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True)
            ]
        )

    @torch.no_grad()
    def log_normalizers(self, hidden: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the log-normalizers of `statistics` alone, [M], without gradient."""
        chunks = map(self._quick_logits, hidden.split(chunk_rows(self.vocab_size)))
        few = (rows for logits in chunks for rows in logits.split(row_count(logits)))
        return torch.cat([(rows / temperature).logsumexp(dim=1) for rows in few])

    @property
    def _has_plain_head(self) -> bool:
        """Whether the output embedding is nothing but its weights."""
        return type(self._head) is nn.Linear and not is_modified(self._head)

    def _plain_head(self) -> tuple[Tensor, Tensor | None]:
        """Return weight [V, H] and bias [V] of the output embedding."""
        weight, bias = cast(Tensor, self._head.weight), cast(Tensor | None, self._head.bias)
        return weight[: self.vocab_size], bias if bias is None else bias[: self.vocab_size]

    def _quick_logits(self, hidden: Tensor) -> Tensor:
        if not self._has_plain_head:
            return self.logits(hidden)
        weight, bias = self._plain_head()
        return linear(hidden.to(weight.dtype), weight, bias).float()

    def _full_logits(self, hidden: Tensor) -> Tensor:
        # A trunk without weights does not know their type.
        return self._head(hidden.to(self._head.weight.dtype))  # type: ignore[arg-type,union-attr]

    def _project(self, hidden: Tensor, targets: Tensor, temperature: float) -> Statistics:
        return statistics(self.logits(hidden), targets, temperature)

    @torch.no_grad()
    def _check_projection(self) -> None:
        # Two texts that differ in their second token, which a decoder's first must not see.
        probe = torch.tensor([[0, 0], [0, 1]], device=self.device)
        logits = self.model(input_ids=probe).logits
        name = type(self.model).__name__
        if not torch.allclose(logits[0, 0], logits[1, 0], rtol=1e-6, atol=1e-6):
            raise ValueError(
                f"{name} is not a decoder-only language model: a token changes the logits before it"
            )
        if logits.shape[-1] < self.vocab_size:
            raise ValueError(
                f"{name} answers with {logits.shape[-1]} logits, but the tokenizer has "
                f"{self.vocab_size} tokens; use the tokenizer that the model was trained with"
            )
        projected = self._full_logits(self.hidden(probe))
        if not torch.allclose(logits.float(), projected.float(), rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"{name} changes its logits after the output embedding (a soft cap or a scale), "
                "which is not supported; use a model whose logits are the output embedding's"
            )


def _check_decoder(model: nn.Module) -> None:
    name = type(model).__name__
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:
        raise ValueError(
            f"{name} is not a Hugging Face language model; "
            "use a PreTrainedModel with output embeddings, such as AutoModelForCausalLM loads"
        )
    if model.config.is_encoder_decoder:
        raise ValueError(f"{name} is not a decoder-only language model but encoder and decoder")


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Return log softmax(logits / temperature) of one token per row, [N].

    Args:
        logits: [N, V] float32.
        tokens: [N] int64.
        temperature: divides the logits.
    """
    few = row_count(logits)
    return torch.cat(
        [
            _chosen_logprobs(rows if temperature == 1.0 else rows / temperature, chosen)
            for rows, chosen in zip(logits.split(few), tokens.split(few), strict=True)
        ]
    )


def _chosen_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    chosen = logits.gather(1, tokens[:, None]).squeeze(1)
    # In place of log_softmax, which would write what is not asked for.
    largest = logits.amax(dim=1, keepdim=True)
    total = (logits - largest).exp_().sum(dim=1)
    return chosen - largest.squeeze(1) - total.log()
