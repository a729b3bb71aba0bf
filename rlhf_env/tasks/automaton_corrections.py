"""What an `AutomatonLM` adds to the reference's logits, and what a critic may look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, PretrainedConfig

from rlhf_env.exact.automaton import digits_of


class AutomatonConfig(PretrainedConfig):
    """The sizes of an `AutomatonLM`, and what it adds to the reference's logits."""

    model_type = "rlhf_env_automaton"

    def __init__(
        self,
        *,
        vocab_size: int = 2,
        horizon: int = 1,
        num_states: int = 1,
        num_prompts: int = 1,
        policy: str = "table",
        width: int = 32,
        num_layers: int = 2,
        **kwargs: Any,
    ) -> None:
        """Set the sizes; ``kwargs`` are the fields that every configuration has.

        Args:
            vocab_size: V; token 0 is EOS.
            horizon: T, the longest response in tokens.
            num_states: S.
            num_prompts: P.
            policy: "table" (a correction for each state), "timed_table" (for each time and
                state) or "transformer".
            width: of the transformer.
            num_layers: of the transformer.
            kwargs: fields of the base class.
        """
        self.vocab_size = vocab_size
        self.horizon = horizon
        self.num_states = num_states
        self.num_prompts = num_prompts
        self.policy = policy
        self.width = width
        self.num_layers = num_layers
        derived = {"use_cache": False, "tie_word_embeddings": False, "eos_token_id": 0}
        super().__init__(**{**kwargs, **derived})


class TableCorrection(nn.Module):
    """A table of numbers to add to the logits, and features for a critic."""

    code_size = 8
    state_layer = 0

    def __init__(self, config: AutomatonConfig) -> None:
        """Take the sizes from the configuration."""
        super().__init__()
        self.num_states: int = config.num_states
        self.is_timed: bool = config.policy == "timed_table"
        rows = config.horizon * config.num_states if self.is_timed else config.num_states
        self.logits = nn.Embedding(rows, config.vocab_size)
        self.state_codes = nn.Embedding(config.num_states, self.code_size)
        self.time_codes = nn.Embedding(config.horizon + 1, self.code_size)
        self.num_features = 3 * self.code_size
        self.horizon: int = config.horizon

    def reset(self) -> None:
        """Add nothing; let the features be as large as a transformer's."""
        nn.init.zeros_(self.logits.weight)
        for codes in (self.state_codes, self.time_codes):
            nn.init.normal_(codes.weight)

    def forward(self, states: Tensor, times: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        """Return what to add to the logits [B, L, V], and features [B, L, 24].

        Args:
            states: [B, L] of the automaton.
            times: [B, L] tokens of the response so far, at most the horizon.
        """
        # After the last token nothing is chosen any more, but a critic may be asked.
        earlier = times.clamp(max=self.horizon - 1)
        rows = earlier * self.num_states + states if self.is_timed else states
        state, time = self.state_codes(states), self.time_codes(times)
        # With the products a linear critic can value each time and state by itself.
        return self.logits(rows), torch.cat([state, time, state * time], dim=-1)

    def by_state(self) -> Tensor | None:
        """Return what is added in each state, [T or 1, S, V]; None where an adapter adds more."""
        if type(self.logits) is not nn.Embedding:
            return None
        return self.logits.weight.unflatten(0, (-1, self.num_states))


class TransformerCorrection(nn.Module):
    """A causal transformer over prompt and response, and a last layer that starts at 0."""

    def __init__(self, config: AutomatonConfig) -> None:
        """Take the sizes from the configuration."""
        super().__init__()
        self.decoder = LlamaModel(
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                intermediate_size=2 * config.width,
                num_hidden_layers=config.num_layers,
                num_attention_heads=2,
                max_position_embeddings=config.horizon
                + digits_of(config.num_prompts, config.vocab_size),
                pad_token_id=None,
                bos_token_id=None,
                eos_token_id=0,
            )
        )
        self.last = nn.Linear(config.width, config.vocab_size, bias=False)
        self.state_layer: int = config.num_layers
        self.num_features: int = config.width

    def reset(self) -> None:
        """Add nothing."""
        nn.init.zeros_(self.last.weight)

    def forward(self, states: Tensor, times: Tensor, **reading: Any) -> tuple[Tensor, Tensor]:
        """Return what to add to the logits [B, L, V], and the hidden states [B, L, width]."""
        hidden = self.decoder(**reading).last_hidden_state
        return self.last(hidden), hidden

    def by_state(self) -> Tensor | None:
        """Return zeros [1, 1, V] as long as the last layer is zero, then None."""
        if type(self.last) is not nn.Linear or bool(self.last.weight.any()):
            return None
        return self.last.weight.new_zeros(1, 1, self.last.out_features)
