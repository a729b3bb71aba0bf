"""A language model over the states of an automaton: the reference's logits plus a correction.

The automaton reads the response; the reference's logits are looked up by its state and never
change. What is learned is added to them and is 0 at first, so that a copy of the model starts
exactly at the reference: a table of numbers, or the output of a small causal transformer which sees
the whole prefix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from rlhf_env.engine.row_cache import RowCache
from rlhf_env.exact.automaton import digits_of
from rlhf_env.tasks.automaton_corrections import (
    AutomatonConfig,
    TableCorrection,
    TransformerCorrection,
)


class AutomatonTrunk(nn.Module):
    """Tokens to the logits of the next one, followed by features for a critic."""

    next_state: Tensor
    reference_logits: Tensor
    starts: Tensor

    def __init__(self, config: AutomatonConfig) -> None:
        """Take the sizes from the configuration."""
        super().__init__()
        shape = config.num_states, config.vocab_size
        self.register_buffer("next_state", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("reference_logits", torch.zeros(shape))
        self.register_buffer("starts", torch.zeros(config.num_prompts, dtype=torch.int64))
        self.prompt_length = digits_of(config.num_prompts, config.vocab_size)
        self.horizon: int = config.horizon
        kind = TransformerCorrection if config.policy == "transformer" else TableCorrection
        self.correction = kind(config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: RowCache | None = None,
        use_cache: bool | None = None,
    ) -> BaseModelOutput:
        """Return logits and features as ``last_hidden_state`` [B, L, V + features], float32.

        Outputs after an EOS or beyond the horizon are meaningless.

        Args:
            input_ids: [B, L] the prompt, then the response so far, or its next tokens.
            attention_mask: for the transformer; states are those of all tokens before.
            position_ids: [B, L]; 0, 1, … by default. A text begins wherever it is 0.
            past_key_values: of the tokens so far; holds the automaton's state, too.
            use_cache: ignored; a cache is used where one is given.
        """
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)
            position_ids = position_ids.expand(input_ids.shape)
        states = self.states(input_ids, position_ids, past_key_values)
        times = (position_ids - self.prompt_length + 1).clamp(0, self.horizon)
        added, features = self.correction(
            states,
            times,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=past_key_values is not None,
        )
        logits = self.reference_logits[states] + added.float()
        hidden = torch.cat([logits, features.to(logits.dtype)], dim=-1)
        return BaseModelOutput(last_hidden_state=hidden)  # type: ignore[arg-type]

    def states(self, tokens: Tensor, positions: Tensor, cache: RowCache | None = None) -> Tensor:
        """Return the automaton's state after every token, [B, L] int64; 0 within the prompt.

        Args:
            tokens: [B, L].
            positions: [B, L] the positions of the tokens in their texts.
            cache: holds what was carried from token to token so far, and takes up what follows.
        """
        if cache is None:
            carried = torch.zeros_like(tokens[:, 0])
        elif isinstance(cache, RowCache):
            carried = self._carried_before(cache, positions)
        else:
            raise TypeError(
                f"an automaton model needs a RowCache or no cache, got {type(cache).__name__}; "
                "set use_cache=False"
            )
        found = []
        for token, position in zip(tokens.long().unbind(1), positions.unbind(1), strict=True):
            carried = self._carry(carried, token, position)
            found.append(carried)
        after = torch.stack(found, dim=1)
        if cache is not None:
            self._write(cache, after)
        return torch.where(positions >= self.prompt_length - 1, after, 0)

    def _carry(self, carried: Tensor, token: Tensor, position: Tensor) -> Tensor:
        """Return what is carried after a token [B]: the prompt's number so far, then the state."""
        number = torch.where(position == 0, 0, carried) * self.next_state.shape[1] + token
        start = self.starts[number.clamp(max=len(self.starts) - 1)]
        state = self.next_state[carried.clamp(max=len(self.next_state) - 1), token]
        last = self.prompt_length - 1
        return torch.where(position > last, state, torch.where(position == last, start, number))

    def _carried_before(self, cache: RowCache, positions: Tensor) -> Tensor:
        """Return what is carried up to the first of some positions, [B]."""
        # A cache shows what it holds only to those who write.
        held = self._write(cache, torch.zeros_like(positions))
        return held.gather(1, (positions[:, :1] - 1).clamp(min=0)).squeeze(1)

    def _write(self, cache: RowCache, carried: Tensor) -> Tensor:
        """Put [B, L] numbers where keys and values of a layer would be; return all, [B, S]."""
        keys = carried[:, None, :, None]
        return cache.update(keys, keys, self.correction.state_layer)[0][:, 0, :, 0]


class FirstColumns(nn.Module):
    """An output embedding that takes the logits out of the trunk's output; nothing is learned."""

    weight: Tensor

    def __init__(self, width: int, vocab_size: int) -> None:
        """Take the first ``vocab_size`` of ``width`` columns."""
        super().__init__()
        self.register_buffer("weight", torch.eye(vocab_size, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., V] of [..., width]."""
        return hidden[..., : self.weight.shape[0]]


class AutomatonLM(PreTrainedModel):
    """A causal language model whose reference logits are looked up by an automaton's state."""

    config_class = AutomatonConfig
    base_model_prefix = "trunk"

    def __init__(self, config: AutomatonConfig) -> None:
        """Build the model with empty tables and a correction of 0."""
        super().__init__(config)
        self.trunk = AutomatonTrunk(config)
        width = config.vocab_size + self.trunk.correction.num_features
        self.lm_head = FirstColumns(width, config.vocab_size)
        self.post_init()
        self.trunk.correction.reset()

    @property
    def next_state(self) -> Tensor:
        """[S, V] int64, the automaton's state after each token."""
        return self.trunk.next_state

    def get_output_embeddings(self) -> FirstColumns:
        """Return the module that takes the logits out of the trunk's output."""
        return self.lm_head

    def state_logits(self) -> Tensor | None:
        """Return the logits of each time and state, [T or 1, S, V].

        None where the transformer, or an adapter, makes them depend on more of the prefix.
        """
        added = self.trunk.correction.by_state()
        return None if added is None else self.trunk.reference_logits + added.float()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: RowCache | None = None,
        logits_to_keep: int | Tensor = 0,
        use_cache: bool | None = None,
    ) -> CausalLMOutput:
        """Return the logits of the next token after every position, [B, K, V].

        Args:
            input_ids: [B, L] prompt, then the response so far, padded on the right.
            attention_mask: see `AutomatonTrunk.forward`.
            position_ids: [B, L] if rows are packed, padded on the left, or continue a text.
            past_key_values: of the tokens so far.
            logits_to_keep: the last K positions (0: all), or the indices of the positions to keep.
            use_cache: ignored; a cache is used where one is given.
        """
        hidden = self.trunk(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
        ).last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutput(logits=self.lm_head(hidden[:, kept]))  # type: ignore[arg-type]


AutoConfig.register("rlhf_env_automaton", AutomatonConfig, exist_ok=True)
AutoModelForCausalLM.register(AutomatonConfig, AutomatonLM, exist_ok=True)
