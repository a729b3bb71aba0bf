"""The policy that the agents of this package train: a language model with a critic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from agents.state_measures import StateMeasures
from rlhf_env.engine.language_model import LanguageModel, length_batches
from rlhf_env.engine.sampling import check_rows_finite, draw_tokens, inverse_cdf
from rlhf_env.mdp.lock import PicklableRLock
from rlhf_env.rollout import Rollout

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# From this vocabulary size on, drawing block by block is faster than drawing from whole rows.
_LARGE_VOCABULARY = 4096


@dataclass(frozen=True, kw_only=True)
class PolicyOutput:
    """A policy's outputs on finished episodes; 0 where there is no action."""

    logprobs: Tensor
    """[B, L] log pi(a|s), in nats."""
    entropy: Tensor
    """[B, L] entropy of pi(.|s), in nats."""
    values: Tensor
    """[B, L] V(s) of the state in which the token was chosen."""
    last_values: Tensor
    """[B] V of the state after the last action."""
    term_values: Mapping[str, Tensor]
    """[B, L] of each of the critic's outputs by name; ``values`` is their sum."""
    last_term_values: Mapping[str, Tensor]
    """[B] likewise."""
    reference_kl: Tensor | None = None
    """[B, L] KL(pi_ref(.|s) || pi(.|s)) in nats; None unless `Policy.measures` asks for it."""
    log_collision: Tensor | None = None
    """[B, L] log sum_v pi(v|s)^2; None unless `Policy.measures` asks for it."""
    log_normalizer: Tensor | None = None
    """[B, L] log sum_v exp(z_v / temperature) of the logits z, in nats; None likewise."""


def detached(description: PolicyOutput) -> PolicyOutput:
    """Return the outputs without their gradient."""

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach()
        return value and {name: part.detach() for name, part in value.items()}

    cuts = {each.name: cut(getattr(description, each.name)) for each in fields(PolicyOutput)}
    return PolicyOutput(**cuts)


def _one_thread(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return a method of `Policy` that holds its lock: the model's cache serves one thread."""

    @wraps(method)
    def locked(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        policy: Any = arguments[0]
        with policy.lock:
            return method(*arguments, **named)

    return locked


class Policy(nn.Module):
    """A causal language model, sampled at a temperature, with a linear value head.

    The temperature belongs to the policy: sampling and log-probabilities both divide by it. The
    value head is on the policy's own trunk or on that of a critic, and starts at zero. Dropout
    stays off, in rollouts as in updates. One thread at a time runs the model; others wait for
    ``lock``, which may be held around several calls.
    """

    def __init__(
        self,
        model: nn.Module,
        vocab_size: int,
        temperature: float = 1.0,
        *,
        precision: str = "fp32",
        gradient_checkpointing: bool = False,
        shares_prompts: bool = True,
        cuda_graphs: bool = True,
        flex_attention: bool = True,
        value_names: Sequence[str] = ("return",),
        critic: nn.Module | None = None,
    ) -> None:
        """Take a model; its weights are the policy's.

        Args:
            model: a causal language model.
            vocab_size: V.
            temperature: divides the logits.
            precision: "fp32", or "bf16" for `evaluate_tokens`: matrices are multiplied in 16 bits.
            gradient_checkpointing: keep only each layer's input and recompute the layer for the
                gradient; also done if the model itself has it switched on.
            shares_prompts: let `evaluate_tokens` run a prompt once for all its responses in a
                batch, which rounds differently from running it for each.
            cuda_graphs: on a GPU, record a step of decoding and repeat it, where the model allows
                that; models with hooks are decoded step by step.
            flex_attention: on a GPU, let all texts of `evaluate_tokens` attend by one call a layer,
                where the model allows that; rounding then depends on the other texts of a batch.
            value_names: what the value head predicts, one output each.
            critic: a language model whose trunk the value head uses; the policy's own when None.
        """
        super().__init__()
        self.model = model
        apart = partial(
            _apart,
            vocab_size,
            gradient_checkpointing,
            shares_prompts=shares_prompts,
            flex_attention=flex_attention,
        )
        self.lm = apart(model)
        self._critic_lm = self.lm if critic is None else apart(critic)
        self.lock = PicklableRLock()
        self.temperature = temperature
        self.precision = precision
        self.cuda_graphs = cuda_graphs
        self.value_names = tuple(value_names)
        self.critic = critic
        self.measures = StateMeasures()
        width = self._critic_lm.hidden_size
        self.value_head = nn.Linear(width, len(self.value_names)).to(self.lm.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def train(self, mode: bool = True) -> Policy:
        """Stay in eval mode: with dropout on, a policy would disagree with its own samples."""
        return super().train(False)

    def critic_parameters(self) -> list[nn.Parameter]:
        """Return the trained weights of the critic: its model, if it has one, and the head."""
        own = [] if self.critic is None else list(self.critic.parameters())
        return [p for p in (*own, *self.value_head.parameters()) if p.requires_grad]

    @_one_thread
    @torch.no_grad()
    def sample(
        self, tokens: Tensor, lengths: Tensor, uniforms: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw each row's next token by the inverse of the cumulative distribution.

        Args:
            tokens: [N, L] int64, padded on the right.
            lengths: [N] how many of them are not padding.
            uniforms: [N] numbers in [0, 1), the only randomness there is; None takes the most
                likely token.

        Returns:
            [N] tokens and [N] their log-probabilities under the distribution they came from,
            that of the policy also where the most likely token is taken.
        """
        return self.draw(self.lm.engine.logits_view(tokens, lengths), uniforms)

    def draw(
        self, logits: Tensor, uniforms: Tensor | None, *, is_checked: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Draw a token for each row of logits [N, V], as `sample` does.

        Args:
            logits: of the policy, at temperature 1.
            uniforms: as there.
            is_checked: raise for logits that are not finite, for which the host waits for the
                device.
        """
        if uniforms is not None and self.lm.vocab_size >= _LARGE_VOCABULARY:
            return draw_tokens(logits, uniforms, self.temperature, is_checked=is_checked)
        scaled = logits if self.temperature == 1.0 else logits / self.temperature
        return draw_next(scaled, uniforms, is_checked=is_checked)

    @_one_thread
    @torch.no_grad()
    def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the distribution of each row's next token, [N, V] float64."""
        logits = self.lm.next_logits(tokens, lengths).double() / self.temperature
        return logits.softmax(dim=-1)

    @_one_thread
    def evaluate_tokens(self, tokens: Tensor, is_action: Tensor) -> PolicyOutput:
        """Return log-probabilities, entropies and values of one batch, with gradient.

        Args:
            tokens: [B, L] finished episodes, padded on the right.
            is_action: [B, L] bool.
        """
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self._evaluate_tokens(tokens, is_action)

    def _evaluate_tokens(self, tokens: Tensor, is_action: Tensor) -> PolicyOutput:
        states, ends = states_and_ends(is_action)
        wanted, texts = states | ends, tokens[:, : states.shape[1]]
        hidden = self.lm.packed_hidden(texts, wanted)
        is_end = ends[wanted]
        at_end, elsewhere = is_end.nonzero().flatten(), (~is_end).nonzero().flatten()
        before = hidden.index_select(0, elsewhere)
        logprobs, entropy, normalizer = self.lm.statistics(
            before, tokens[is_action], self.temperature
        )
        measured = self.measures(self.lm, before, texts, states, self.temperature, normalizer)
        if self.critic is not None:
            hidden = self._critic_lm.packed_hidden(texts, wanted)
        zeros = torch.zeros(tokens.shape, device=tokens.device)
        values = {
            name: zeros.masked_scatter(is_action, value)
            for name, value in self._values(hidden.index_select(0, elsewhere)).items()
        }
        last_values = self._values(hidden.index_select(0, at_end))
        return PolicyOutput(
            logprobs=zeros.masked_scatter(is_action, logprobs),
            entropy=zeros.masked_scatter(is_action, entropy),
            values=_sum(values),
            last_values=_sum(last_values),
            term_values=values,
            last_term_values=last_values,
            **{name: zeros.masked_scatter(is_action, each) for name, each in measured.items()},
        )

    def sampler_only(self, rollout: Rollout) -> PolicyOutput:
        """Return outputs with only the sampler's log-probabilities filled in."""
        return replace(self._blank(rollout.tokens), logprobs=rollout.logprobs)

    @_one_thread
    @torch.no_grad()
    def evaluate_episodes(self, tokens: Tensor, is_action: Tensor) -> PolicyOutput:
        """Return the same for many episodes, in micro-batches and without gradient."""
        whole = self._blank(tokens)
        for rows, _ in length_batches(is_action):
            _put(whole, self.evaluate_tokens(tokens[rows], is_action[rows]), rows)
        return whole

    def evaluate_rollout(self, rollout: Rollout) -> PolicyOutput:
        """Return `evaluate_episodes` of a rollout's episodes."""
        return self.evaluate_episodes(rollout.tokens, rollout.is_action)

    def _blank(self, tokens: Tensor) -> PolicyOutput:
        def per_token() -> Tensor:
            return torch.zeros(tokens.shape, device=tokens.device)

        def per_episode() -> Tensor:
            return torch.zeros(len(tokens), device=tokens.device)

        return PolicyOutput(
            logprobs=per_token(),
            entropy=per_token(),
            values=per_token(),
            last_values=per_episode(),
            term_values={name: per_token() for name in self.value_names},
            last_term_values={name: per_episode() for name in self.value_names},
            **{name: per_token() for name in self.measures.names},
        )

    def _values(self, hidden: Tensor) -> dict[str, Tensor]:
        # The value head is float32 whatever the trunk is: 16 bits are too few for a regression.
        with torch.autocast(hidden.device.type, enabled=False):
            outputs = self.value_head(hidden.to(self.value_head.weight.dtype))
        return dict(zip(self.value_names, outputs.unbind(-1), strict=True))


def draw_next(
    logits: Tensor, uniforms: Tensor | None, *, is_checked: bool = True
) -> tuple[Tensor, Tensor]:
    """Draw a token of each row; see `Policy.sample`.

    Args:
        logits: [N, V], divided by the temperature.
        uniforms: [N] numbers in [0, 1); None takes the most likely token.
        is_checked: see `Policy.draw`.
    """
    logprobs = logits.log_softmax(dim=-1)
    if uniforms is None:
        best, chosen = logprobs.max(dim=-1)
        if is_checked:
            check_rows_finite(best)
        return chosen, best
    chosen = inverse_cdf(logprobs.exp(), uniforms, is_checked=is_checked)
    if not is_checked:
        # What is not a number has no place; its log-probability is not a number either.
        chosen = chosen.clamp(max=logits.shape[1] - 1)
    return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)


def _apart(
    vocab_size: int, gradient_checkpointing: bool, model: nn.Module, **settings: bool
) -> LanguageModel:
    is_on = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    return LanguageModel(
        model,
        vocab_size,
        gradient_checkpointing=gradient_checkpointing or is_on,
        **settings,
    )


def states_and_ends(is_action: Tensor) -> tuple[Tensor, Tensor]:
    """Return [B, W] bool, where actions are chosen from and where episodes end.

    Args:
        is_action: [B, L]; an action is chosen at the position before its own, and W is the length
            of the longest episode.
    """
    last = is_action.shape[1] - 1 - is_action.flip(1).int().argmax(dim=1)
    width = int(last.max()) + 1
    ends = torch.arange(width, device=is_action.device) == last[:, None]
    states = is_action.roll(-1, dims=1)[:, :width]
    return states, ends


def _sum(values: Mapping[str, Tensor]) -> Tensor:
    first, *others = values.values()
    for other in others:
        first = first + other
    return first


def _put(whole: PolicyOutput, part: PolicyOutput, rows: Tensor) -> None:
    """Write the outputs of some rows into those of all."""
    for field in fields(PolicyOutput):
        target, source = getattr(whole, field.name), getattr(part, field.name)
        if isinstance(target, Tensor):
            target[rows] = source
        elif target is not None:
            for name, values in source.items():
                target[name][rows] = values
