"""Tasks whose reference and score are functions of a finite state, as arrays.

The state is that of a deterministic automaton which reads the response. Nothing is enumerated, so
the horizon may be long; the recursions over these arrays are in `rlhf_env.exact.by_state`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rlhf_env.task import Task

EOS = 0


@dataclass(frozen=True, kw_only=True)
class Automaton:
    """S states, V tokens of which token 0 is EOS, and P prompts.

    A prompt is a state to start in, and is written as its number in base V, in as many tokens as
    the largest needs; the only prompt of a task is the single token 0.
    """

    next_state: Tensor
    """[S, V] int64, the state after a token; EOS stays where it is."""
    reference_logits: Tensor
    """[S, V] float32, of the reference in each state."""
    score: Tensor
    """[S] float64, what a response is paid that ends in a state."""
    starts: Tensor
    """[P] int64, the state in which the response to each prompt begins."""

    @property
    def num_states(self) -> int:
        """S."""
        return self.next_state.shape[0]

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.next_state.shape[1]

    @property
    def prompt_length(self) -> int:
        """How many tokens a prompt has."""
        return digits_of(len(self.starts), self.vocab_size)

    def prompts(self) -> list[Tensor]:
        """Return the P prompts, [prompt_length] int64 each."""
        powers = [self.vocab_size**i for i in reversed(range(self.prompt_length))]
        numbers = range(len(self.starts))
        return [torch.tensor([n // p % self.vocab_size for p in powers]) for n in numbers]

    def start_of(self, prompt: Tensor) -> int:
        """Return the state in which the response to a prompt begins."""
        number = 0
        for digit in prompt.tolist():
            number = number * self.vocab_size + digit
        return int(self.starts[min(number, len(self.starts) - 1)])

    def states(self, starts: Tensor, tokens: Tensor) -> Tensor:
        """Return the states before the first and after each token, [B, L + 1] int64.

        Args:
            starts: [B] the states before the first token.
            tokens: [B, L] the response; EOS and what pads it with EOS change nothing.
        """
        found = [starts]
        for column in tokens.unbind(1):
            found.append(self.next_state[found[-1], column])
        return torch.stack(found, dim=1)


@runtime_checkable
class ScoresByState(Protocol):
    """A reward that is a function of an automaton's state."""

    @property
    def automaton(self) -> Automaton:
        """The automaton whose ``score`` is paid."""
        ...


@runtime_checkable
class ChoosesByState(Protocol):
    """A language model whose logits may be a function of time and an automaton's state."""

    @property
    def next_state(self) -> Tensor:
        """[S, V] int64, of the automaton."""
        ...

    def state_logits(self) -> Tensor | None:
        """Return the logits [T, S, V]; None where they depend on more of the prefix.

        A first axis of length 1 means that they do not depend on the time; from the last time on
        they stay what they are.
        """
        ...


def automaton_of(task: Task) -> Automaton | None:
    """Return the automaton of a task whose score and reference are functions of its state.

    None for every other task.
    """
    reward, reference = task.reward, task.reference
    if not isinstance(reward, ScoresByState) or not isinstance(reference, ChoosesByState):
        return None
    if not torch.equal(reward.automaton.next_state, reference.next_state.cpu()):
        return None
    return None if reference.state_logits() is None else reward.automaton


def digits_of(count: int, base: int) -> int:
    """Return how many digits the numbers below ``count`` need, at least 1."""
    digits = 1
    while base**digits < count:
        digits += 1
    return digits
