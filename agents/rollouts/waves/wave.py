"""Episodes that are decoded side by side, and the step that draws one more token of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Wave:
    """N episodes on the device.

    Their tensors are written in place, and which token is next is one of them. What `step` does is
    thus the same operations on the same memory for every token of a span: it can be recorded once
    and repeated.
    """

    policy: Policy
    """Samples."""
    eos_id: int
    """Ends a response."""
    tokens: Tensor
    """[N, L] prompts and responses."""
    logprobs: Tensor
    """[N, L] of the responses."""
    starts: Tensor
    """[N] prompt lengths."""
    lengths: Tensor
    """[N] prompt and response together."""
    uniforms: Tensor | None
    """[N, T] the number of each token; None takes the most likely one."""
    alive: Tensor
    """[N] bool, whether a response goes on."""
    last: Tensor
    """[N] the tokens drawn last, also behind the end of a response."""
    drawn: Tensor
    """[] how many tokens of each response have been drawn."""

    def step(self, span: int) -> Tensor:
        """Draw a token after the one drawn last, and return the logits [N, V] it was drawn from.

        The host waits for nothing here, and nothing that it knows changes from token to token but
        the span.

        Args:
            span: more than the largest position of the tokens drawn last.
        """
        positions = self.starts + self.drawn - 1
        logits = self.policy.lm.engine.decode_token(self.last, positions, span)
        self.draw(logits)
        return logits

    def draw(self, logits: Tensor) -> None:
        """Draw a token of each row from logits [N, V]; behind a response's end nothing changes."""
        numbers = self.uniforms
        if numbers is not None:
            numbers = numbers.index_select(1, self.drawn[None])[:, 0]
        chosen, logprob = self.policy.draw(logits, numbers, is_checked=False)
        at = (self.starts + self.drawn)[:, None]
        kept = self.tokens.gather(1, at)
        self.tokens.scatter_(1, at, torch.where(self.alive[:, None], chosen[:, None], kept))
        self.logprobs.scatter_(1, at, logprob.masked_fill(~self.alive, 0.0)[:, None])
        self.lengths.add_(self.alive)
        self.alive.logical_and_(chosen != self.eos_id)
        self.last.copy_(chosen)
        self.drawn.add_(1)

    def saved(self) -> list[Tensor]:
        """Return copies of what a step writes, but for the model's cache."""
        return [written.clone() for written in self._written]

    def restore(self, saved: list[Tensor]) -> None:
        """Go back to a state that was `saved`.

        The cache needs no copy: the step that follows writes the keys and values of the same
        tokens to the same places.
        """
        for written, before in zip(self._written, saved, strict=True):
            written.copy_(before)

    @property
    def _written(self) -> tuple[Tensor, ...]:
        return self.tokens, self.logprobs, self.lengths, self.alive, self.last, self.drawn
