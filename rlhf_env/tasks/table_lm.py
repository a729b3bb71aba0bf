"""A language model that is a table: one row of logits for every decision state.

It has the shape of any Hugging Face causal language model (a trunk, then ``lm_head``), so that
whatever handles those handles it; the table itself is the weight of ``lm_head``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from rlhf_env.exact.response_tree import num_states


class TableConfig(PretrainedConfig):
    """The sizes of a `TableLM`; ``hidden_size`` is the number of decision states S."""

    model_type = "rlhf_env_table"

    def __init__(self, vocab_size: int = 2, horizon: int = 1, **kwargs: Any) -> None:
        """Set the sizes; ``kwargs`` are the fields that every configuration has."""
        self.vocab_size = vocab_size
        self.horizon = horizon
        derived = {
            "hidden_size": num_states(vocab_size, horizon),
            "use_cache": False,
            "tie_word_embeddings": False,
            "eos_token_id": 0,
        }
        super().__init__(**{**kwargs, **derived})


class TableTrunk(nn.Module):
    """The trunk without parameters: tokens to the one-hot vector of their decision state."""

    def __init__(self, config: TableConfig) -> None:
        """Take the sizes from the configuration."""
        super().__init__()
        self.branching = config.vocab_size - 1
        self.horizon = config.horizon
        self.num_states: int = config.hidden_size

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool | None = None,
    ) -> BaseModelOutput:
        """Return the one-hot decision states as ``last_hidden_state`` [B, L, S], float32.

        Position 0 holds the start token; the state at position t is that of tokens 1 … t. Padding,
        what follows an EOS and what lies beyond the horizon map to an arbitrary state.

        Args:
            input_ids: [B, L] start token, then the response so far.
            attention_mask: ignored; what a position sees are the tokens since position 0.
            position_ids: [B, L] if rows are packed or padded on the left; 0, 1, … by default.
            use_cache: ignored; there is no cache.
        """
        hidden = self.one_hot(self.states(input_ids, position_ids))
        return BaseModelOutput(last_hidden_state=hidden)  # type: ignore[arg-type]

    def states(self, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """Return the number of the decision state at every position, [B, L] int64.

        Σ_{j < position} token_{t−j} · (V − 1)^j, the numbering of `rlhf_env.exact.response_tree`.
        """
        length = input_ids.shape[1]
        if position_ids is None:
            position_ids = torch.arange(length, device=input_ids.device)
        tokens = input_ids.long()
        state = torch.zeros_like(tokens)
        for back in range(min(length, self.horizon) - 1):
            earlier = torch.roll(tokens, back, dims=1)
            state = state + torch.where(position_ids > back, earlier * self.branching**back, 0)
        return state.clamp(0, self.num_states - 1)

    def one_hot(self, state: Tensor) -> Tensor:
        """Return the states [...] as one-hot vectors [..., S] in float32."""
        zeros = torch.zeros(*state.shape, self.num_states, device=state.device)
        return zeros.scatter_(-1, state[..., None], 1.0)


class TableLM(PreTrainedModel):
    """A causal language model whose logits are looked up, one row of the table per prefix."""

    config_class = TableConfig
    base_model_prefix = "trunk"

    def __init__(self, config: TableConfig) -> None:
        """Build the model with a random table."""
        super().__init__(config)
        self.trunk = TableTrunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """Return the table, [V, S]: column i holds the logits of state i."""
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        use_cache: bool | None = None,
    ) -> CausalLMOutput:
        """Return the logits of the next token after every position, [B, K, V].

        Args:
            input_ids: [B, L] start token, then the response so far, padded on the right.
            attention_mask: ignored, see `TableTrunk.forward`.
            position_ids: [B, L] if rows are packed or padded on the left.
            logits_to_keep: the last K positions (0: all), or the indices of the positions to keep.
            use_cache: ignored; there is no cache.
        """
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        state = self.trunk.states(input_ids, position_ids)[:, kept]
        if type(self.lm_head) is nn.Linear:
            # The same numbers as below without the one-hot vectors, which are long for many states.
            logits = nn.functional.embedding(state, self.lm_head.weight.T)
        else:
            # An adapter took the place of the table, and it must see its input.
            logits = self.lm_head(self.trunk.one_hot(state))
        return CausalLMOutput(logits=logits)  # type: ignore[arg-type]


AutoConfig.register("rlhf_env_table", TableConfig, exist_ok=True)
AutoModelForCausalLM.register(TableConfig, TableLM, exist_ok=True)
