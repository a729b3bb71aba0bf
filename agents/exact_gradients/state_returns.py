"""What every response pays from each of its decisions on, grouped by the state it is in then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from agents.exact_gradients.responses import Responses
from agents.math import discounted_returns
from agents.rollouts.decisions import is_decision
from agents.rollouts.discounting import discounted_terms
from agents.settings.discount import Discount
from rlhf_env.rollout import Rollout

State = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class StateReturns:
    """All returns from all states of an enumerable task, with their probabilities."""

    number: dict[State, int]
    """The number of each state, which is a prompt and what was said of the response."""
    state: Tensor
    """[R, D] int64, the state of each decision of each response; -1 where there is none."""
    returns: dict[str, Tensor]
    """[R, D] float64, from the decision on, for each discount by name."""
    probability: Tensor
    """[R] float64, of the response to its prompt."""

    @cached_property
    def values(self) -> dict[str, Tensor]:
        """[S] float64, V of every state under the policy that says the responses."""
        is_state = self.state >= 0
        states, weight = self.state[is_state], self.probability[is_state.nonzero()[:, 0]]
        zeros = torch.zeros(len(self.number), dtype=torch.float64)
        reach = zeros.index_add(0, states, weight)
        return {
            name: zeros.index_add(0, states, weight * each[is_state]) / reach
            for name, each in self.returns.items()
        }

    def expected(self, rows: Tensor) -> dict[str, Tensor]:
        """Return V of the state of each decision of some responses, [n, D] float64."""
        states = self.state[rows]
        return {
            name: torch.where(states >= 0, each[states.clamp(min=0)], 0.0)
            for name, each in self.values.items()
        }

    def drawn(
        self, rows: Tensor, samples: int, generator: np.random.Generator
    ) -> dict[str, Tensor]:
        """Return means of k returns from each state of some responses, [n, D] float64.

        Each mean is of draws of its own, as a Monte Carlo critic makes them.

        Args:
            rows: [n] numbers of responses.
            samples: k.
            generator: draws them.
        """
        states = self.state[rows]
        found = {name: torch.zeros(states.shape, dtype=torch.float64) for name in self.returns}
        for state, (members, chances) in enumerate(self._members):
            is_here = states == state
            count = int(is_here.sum())
            if not count:
                continue
            drawn = torch.from_numpy(generator.choice(len(members), (count, samples), p=chances))
            for name, returns in self.returns.items():
                paid = returns[self.state == state]
                found[name][is_here] = paid[drawn].mean(dim=1)
        return found

    @cached_property
    def _members(self) -> list[tuple[Tensor, np.ndarray]]:
        """For every state the responses that pass it, and their probabilities from there."""
        found = []
        for state in range(len(self.number)):
            rows = (self.state == state).nonzero()[:, 0]
            chances = self.probability[rows].numpy()
            found.append((rows, chances / chances.sum()))
        return found


def state_returns(responses: Responses, gamma: Discount, unit: str = "decision") -> StateReturns:
    """Return what all responses pay from their decisions on.

    Args:
        responses: every response, as an agent learns from it.
        gamma: the agent's discount.
        unit: what it is per.
    """
    rollout = responses.rollout
    number: dict[State, int] = {}
    keys = states_of(rollout)
    mask = is_decision(rollout)
    state = torch.full(mask.shape, -1)
    for row, decisions in enumerate(keys):
        for column, key in enumerate(decisions):
            state[row, column] = number.setdefault(key, len(number))
    returns = {
        term.name: discounted_returns(term.rewards.double(), mask, term.gamma)
        for term in discounted_terms(rollout, gamma, unit)
    }
    return StateReturns(
        number=number, state=state, returns=returns, probability=responses.probability
    )


def states_of(rollout: Rollout) -> list[list[State]]:
    """Return the state in which each decision of each episode was taken."""
    found = []
    texts = zip(rollout.prompts(), rollout.responses(), rollout.decision, strict=True)
    for prompt, response, decision in texts:
        said, start = tuple(response.tolist()), tuple(prompt.tolist())
        numbers = decision[decision >= 0].tolist()
        firsts = [t for t, each in enumerate(numbers) if t == 0 or each != numbers[t - 1]]
        found.append([(start, said[:first]) for first in firsts])
    return found
