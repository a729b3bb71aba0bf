"""The exact returns of the reference's responses, of tasks small enough to enumerate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_env.exact.enumerated import EnumeratedTask, enumerate_task, model_logprobs
from rlhf_env.task import Task

Array = NDArray[np.float64]


class ExactReturns:
    """`Returns` by enumeration: what a model of returns would be after learning from everything."""

    def __init__(self, task: Task) -> None:
        """Enumerate all responses to all prompts.

        Raises:
            ValueError: if there are too many, or the task is a conversation.
        """
        self._places: dict[tuple[int, ...], int] = {}
        self._trees: list[tuple[EnumeratedTask, Array]] = []
        count = 0
        for index in range(len(task.prompts)):
            tree = enumerate_task(task, index)
            self._trees.append((tree, model_logprobs(tree, task.reference)))
            prompt = tuple(tree.prompt.tolist())
            self._places |= {(*prompt, *s): count + i for i, s in enumerate(tree.states)}
            count += tree.num_states
        self._mean = self._table(_mean)

    def hidden(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the numbers of some states, [M, 1] float64; see `Returns`."""
        rows, ends = wanted.nonzero().unbind(1)
        said = [
            tuple(tokens[row, : end + 1].tolist())
            for row, end in zip(rows.tolist(), ends.tolist(), strict=True)
        ]
        # What is no state, such as a response that has ended, is an arbitrary one.
        numbers = [[float(self._places.get(prefix, 0))] for prefix in said]
        return torch.tensor(numbers, dtype=torch.float64, device=tokens.device)

    def mean(self, hidden: Tensor) -> Tensor:
        """Return E_ref[G | s, a], [M, V] float64."""
        return self._mean[hidden[:, 0].long()]

    def log_mean_exp(self, hidden: Tensor, kl_coef: float) -> Tensor:
        """Return beta log E_ref[exp(G / beta) | s, a], [M, V] float64."""

        def backed_up(q: Array, logprobs: Array) -> Array:
            return kl_coef * np.logaddexp.reduce(logprobs + q / kl_coef, axis=1)

        return self._table(backed_up)[hidden[:, 0].long()]

    def _table(self, backed_up: Callable[[Array, Array], Array]) -> Tensor:
        """Return a value of every token in every state, [S, V], from the ends on."""
        tables = []
        for tree, logprobs in self._trees:
            undiscounted = np.ones(tree.vocab_size)
            values = np.empty(tree.num_states)
            table = np.empty((tree.num_states, tree.vocab_size))
            for level, states in reversed(list(enumerate(tree.levels))):
                table[states] = tree.action_values(level, tree.scores, values, undiscounted)
                values[states] = backed_up(table[states], logprobs[states])
            tables.append(table)
        return torch.from_numpy(np.concatenate(tables))


def _mean(q: Array, logprobs: Array) -> Array:
    return np.einsum("sv,sv->s", np.exp(logprobs), q)
