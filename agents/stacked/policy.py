"""The policies of several agents as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agents.policy import Policy, PolicyOutput, draw_next, states_and_ends
from agents.stacked.modules import StackedLinear, stacked_model, stacked_module
from agents.stacked.products import RunRows, linear_by_run
from rlhf_env.engine.projection import logprob_and_entropy
from rlhf_env.engine.row_cache import RowCache, supports_row_cache
from rlhf_env.tasks.table_lm import TableLM


class StackedPolicy(nn.Module):
    """R policies of one shape on R blocks of rows of one size; they share the agents' weights."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Put their weights side by side; each keeps its own as a view.

        Args:
            policies: of one temperature, and of models for which
                `agents.stacked.modules.unstackable_module` found nothing.
        """
        super().__init__()
        first = policies[0]
        self.runs = len(policies)
        self.vocab_size = first.lm.vocab_size
        self.value_names = first.value_names
        self.model = stacked_model([policy.model for policy in policies])
        value_head = stacked_module([policy.value_head for policy in policies])
        assert isinstance(value_head, StackedLinear)
        self.value_head = value_head
        self.temperature = first.temperature
        # A state of its trunk is a 1 among zeros.
        self._is_table = isinstance(first.model, TableLM)

    @torch.no_grad()
    def decode(self, prompts: Tensor, uniforms: Tensor, eos_id: int) -> tuple[Tensor, Tensor]:
        """Sample a response to every prompt.

        Args:
            prompts: [R · n, P] int64, all of one length.
            uniforms: [R · n, T] numbers in [0, 1), the only randomness there is.
            eos_id: ends a response; what a row holds after it has no meaning.

        Returns:
            [R · n, P + T] prompt and response, and the log-probabilities of the tokens.
        """
        count, start = prompts.shape
        width = start + uniforms.shape[1]
        tokens = torch.full((count, width), eos_id, device=prompts.device)
        tokens[:, :start] = prompts
        logprobs = torch.zeros(tokens.shape, device=tokens.device)
        is_open = torch.ones(count, dtype=torch.bool, device=tokens.device)
        cache = RowCache(count, width) if supports_row_cache(self.model, width) else None
        for at in range(start, width):
            logits = self._next_logits(tokens[:, :at], cache) / self.temperature
            chosen, logprobs[:, at] = draw_next(logits, uniforms[:, at - start])
            tokens[:, at] = chosen
            is_open &= chosen != eos_id
            if not is_open.any():
                break
        return tokens, logprobs

    def evaluate(self, tokens: Tensor, is_action: Tensor) -> PolicyOutput:
        """Return log-probabilities, entropies and values, with gradient; see `Policy`.

        Args:
            tokens: [R · n, L] finished episodes, padded on the right.
            is_action: [R · n, L] bool.
        """
        states, ends = states_and_ends(is_action)
        wanted, texts = states | ends, tokens[:, : states.shape[1]]
        trunk: nn.Module = self.model.base_model  # type: ignore[assignment]
        hidden = trunk(input_ids=texts, use_cache=False).last_hidden_state[wanted]
        is_end = ends[wanted]
        before = hidden[~is_end]
        sizes = states.reshape(self.runs, -1).sum(dim=1).tolist()
        rows = RunRows(sizes, hidden.device)
        logits = self._logits(before, rows)
        logprobs, entropy = logprob_and_entropy(logits, tokens[is_action], self.temperature)
        zeros = torch.zeros(tokens.shape, device=tokens.device)
        values = {
            name: zeros.masked_scatter(is_action, value)
            for name, value in self._values(before, rows).items()
        }
        last = RunRows([len(tokens) // self.runs] * self.runs, hidden.device)
        last_values = self._values(hidden[is_end], last)
        return PolicyOutput(
            logprobs=zeros.masked_scatter(is_action, logprobs),
            entropy=zeros.masked_scatter(is_action, entropy),
            values=torch.stack(list(values.values())).sum(dim=0),
            last_values=torch.stack(list(last_values.values())).sum(dim=0),
            term_values=values,
            last_term_values=last_values,
        )

    def _next_logits(self, texts: Tensor, cache: RowCache | None) -> Tensor:
        """Return the logits after texts that are one token longer at each call, [R · n, V]."""
        length = texts.shape[1]
        if cache is None:
            output = self.model(input_ids=texts, logits_to_keep=1)
        else:
            first = 0 if not cache.layers else length - 1
            positions = torch.arange(first, length, device=texts.device).expand(len(texts), -1)
            rows = torch.arange(len(texts), device=texts.device)
            is_new = torch.ones_like(positions, dtype=torch.bool)
            dtype = next(self.model.parameters()).dtype
            output = self.model(
                input_ids=texts[:, first:],
                position_ids=positions,
                attention_mask=cache.begin(rows, positions, is_new, dtype),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1, : self.vocab_size].float()

    def _logits(self, hidden: Tensor, rows: RunRows) -> Tensor:
        """Return the logits [M, V] of the trunk's outputs [M, H]."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        if isinstance(head, StackedLinear):
            logits = linear_by_run(hidden, head.weight, head.bias, rows, is_one_hot=self._is_table)
        else:
            logits = head(hidden)
        return logits[:, : self.vocab_size].float()

    def _values(self, hidden: Tensor, rows: RunRows) -> dict[str, Tensor]:
        head = self.value_head
        outputs = linear_by_run(hidden, head.weight, head.bias, rows, is_one_hot=self._is_table)
        return dict(zip(self.value_names, outputs.unbind(-1), strict=True))
