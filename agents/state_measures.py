"""What a policy can say of every state's distribution where a learning rule asks for it.

The first two look at the whole vocabulary once more, which costs a projection; nothing is computed
unless it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf_env.engine.divergence import log_collision, next_token_kl
from rlhf_env.engine.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class StateMeasures:
    """The measures that `Policy.evaluate_tokens` adds to its outputs; none by default."""

    reference: LanguageModel | None = None
    """Adds ``reference_kl`` = KL(reference || policy) of each state, with gradient (TDPO)."""

    log_collision: bool = False
    """Adds ``log_collision`` = log Σ_v π(v|s)² of each state, without gradient (WPO)."""

    log_normalizer: bool = False
    """Adds ``log_normalizer`` = log Σ_v exp(z_v / τ) of each state, with gradient: z are the logits
    and τ the temperature, so that log π(a|s) = z_a / τ − ``log_normalizer``. It is the soft value
    where the logits are soft Q values."""

    @property
    def names(self) -> tuple[str, ...]:
        """The fields of `PolicyOutput` that are filled."""
        asked = {
            "reference_kl": self.reference is not None,
            "log_collision": self.log_collision,
            "log_normalizer": self.log_normalizer,
        }
        return tuple(name for name, is_asked in asked.items() if is_asked)

    def __call__(
        self,
        lm: LanguageModel,
        hidden: Tensor,
        tokens: Tensor,
        states: Tensor,
        temperature: float,
        log_normalizer: Tensor,
    ) -> dict[str, Tensor]:
        """Return the measures of M states by name, each [M], in nats.

        Args:
            lm: the policy's model.
            hidden: [M, H] its trunk's outputs in the states, row by row.
            tokens: [B, W] the texts.
            states: [B, W] bool, the M positions where an action is chosen.
            temperature: divides the logits of policy and reference.
            log_normalizer: [M] of the policy, which is known with its log-probabilities.
        """
        found = {}
        if self.reference is not None:
            # In full precision whatever the policy's pass is in, as the reference always is.
            with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
                theirs = self.reference.packed_hidden(tokens, states)
            found["reference_kl"] = next_token_kl(self.reference, lm, theirs, hidden, temperature)
        if self.log_collision:
            found["log_collision"] = log_collision(lm, hidden, temperature)
        if self.log_normalizer:
            found["log_normalizer"] = log_normalizer
        return found
