"""A frozen language model whose logits are moved by values, stepped or on finished texts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.guided.returns import Returns
from rlhf_env.engine.derived import DerivedEngine
from rlhf_env.engine.engine import Engine
from rlhf_env.engine.language_model import LanguageModel

Values = Callable[[Tensor], Tensor]


class Guidance:
    """Logits z_ref + (Q − mean Q) · scale of the candidates; the others keep z_ref."""

    def __init__(
        self, returns: Returns, values: Values, scale: float, candidates: int | None
    ) -> None:
        """Take the values of tokens, and which tokens they move.

        Args:
            returns: gives what is known of a state.
            values: ``f(hidden [M, H]) -> [M, V]``, Q of every token.
            scale: 1/beta, in units of the logits.
            candidates: so many of the reference's most likely tokens; all when None.
        """
        self.returns = returns
        self.values = values
        self.scale = scale
        self.candidates = candidates

    @torch.no_grad()
    def __call__(self, logits: Tensor, hidden: Tensor) -> Tensor:
        """Return the guided logits of M states, [M, V] float32.

        Args:
            logits: [M, V] of the reference.
            hidden: [M, H] what ``returns`` know of the states.
        """
        q = self.values(hidden).to(torch.float64)
        if self.candidates is None or self.candidates >= logits.shape[1]:
            return (logits.double() + self.scale * (q - q.mean(dim=1, keepdim=True))).float()
        chosen = logits.topk(self.candidates, dim=1).indices
        best = q.gather(1, chosen)
        moved = self.scale * (best - best.mean(dim=1, keepdim=True))
        return logits.double().scatter_add(1, chosen, moved).float()


class GuidedLanguageModel(LanguageModel):
    """A reference's language model under guidance; what it does not override is the reference's.

    A hidden state is the reference's followed by that of the returns.
    """

    def __init__(self, reference: LanguageModel, guidance: Guidance) -> None:
        """Take a model apart already; its weights and engine are shared."""
        self.reference = reference
        self.guidance = guidance
        self.model = reference.model
        self.vocab_size = reference.vocab_size
        self.engine = GuidedEngine(reference.engine, guidance)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return what is known at every position, [B, L, H]."""
        everywhere = torch.ones_like(tokens, dtype=torch.bool)
        return self.packed_hidden(tokens, everywhere).unflatten(0, tokens.shape)

    def packed_hidden(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return what is known at some positions, [M, H]."""
        ours = self.reference.packed_hidden(tokens, wanted)
        return torch.cat([ours.double(), self.guidance.returns.hidden(tokens, wanted)], dim=1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the guided logits, [M, V] float32."""
        width = self.reference.hidden_size
        ours = self.reference.logits(hidden[:, :width].float())
        return self.guidance(ours, hidden[:, width:])

    @property
    def _has_plain_head(self) -> bool:
        return False


class GuidedEngine(DerivedEngine):
    """The logits of another engine, guided; the returns read the whole text at every token."""

    def __init__(self, engine: Engine, guidance: Guidance) -> None:
        """Take the reference's engine."""
        super().__init__(engine)
        self.guidance = guidance

    @torch.no_grad()
    def logits_view(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the guided logits, [N, V]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.guidance.returns.hidden(tokens, places == lengths[:, None] - 1)
        return self.guidance(self.engines[0].logits_view(tokens, lengths), hidden)
