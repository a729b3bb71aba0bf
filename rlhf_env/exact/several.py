"""The exact objective of many policies at once, where each is a table of logits.

The recursions are those of `rlhf_env.exact.solution` and `rlhf_env.exact.by_state`, with the
policies as a first axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_env.exact.bellman import Array
from rlhf_env.exact.by_state import StateProblem, state_problem
from rlhf_env.exact.enumerated import EnumeratedTask, enumerate_task, model_logprobs
from rlhf_env.task import Task


@dataclass(frozen=True, kw_only=True)
class ManyPolicies:
    """Evaluates policies of one task; what does not depend on them is computed once."""

    problem: StateProblem | None
    """The states of an automaton task."""
    tree: EnumeratedTask | None
    """The states of any other."""
    ref_logprobs: Array
    """[S, V], or [T or 1, S, V] of an automaton task."""

    @classmethod
    def of(cls, task: Task) -> ManyPolicies:
        """Solve nothing, but list the states of a task of one prompt.

        Raises:
            ValueError: if there are too many.
        """
        if (problem := state_problem(task, None)) is not None:
            return cls(problem=problem, tree=None, ref_logprobs=problem.ref_logprobs)
        tree = enumerate_task(task, None)
        return cls(problem=None, tree=tree, ref_logprobs=model_logprobs(tree, task.reference))

    def objectives(self, logprobs: Array, kl_coefs: Array) -> Array:
        """Return E[score] − beta · KL of each policy, undiscounted, [R].

        Args:
            logprobs: [R, S, V], finite, the states in the order of
                `rlhf_env.exact.response_tree`; or [R, T or 1, S, V] of an automaton task.
            kl_coefs: [R] beta >= 0 of each.
        """
        costs = kl_coefs.reshape(-1, *[1] * (logprobs.ndim - 2)) * _kl(logprobs, self.ref_logprobs)
        probabilities = np.exp(logprobs)
        if self.problem is not None:
            return _by_state(self.problem, probabilities, costs)
        assert self.tree is not None
        return _by_prefix(self.tree, probabilities, costs)


def _kl(logprobs: Array, ref_logprobs: Array) -> Array:
    difference = logprobs - ref_logprobs
    return np.einsum("...v,...v->...", np.exp(logprobs), difference)


def _by_prefix(tree: EnumeratedTask, probabilities: Array, costs: Array) -> Array:
    """Return the values [R] of the root, from [R, S, V] and [R, S]."""
    runs = len(probabilities)
    ended = tree.scores[tree.num_states :]
    following: Array = np.broadcast_to(ended, (runs, len(ended)))
    for states in reversed(tree.levels):
        q = np.empty(probabilities[:, states].shape)
        q[..., tree.eos_id] = tree.scores[states]
        q[..., tree.continuing] = following.reshape(runs, states.stop - states.start, -1)
        following = _mean(probabilities[:, states], q) - costs[:, states]
    return following[:, 0]


def _by_state(problem: StateProblem, probabilities: Array, costs: Array) -> Array:
    """Return the values [R] of the start, from [R, T or 1, S, V] and [R, T or 1, S]."""
    following: Array = np.broadcast_to(problem.score, (len(costs), len(problem.score)))
    for time in reversed(range(problem.horizon)):
        # From the last time on they stay what they are.
        now = min(time, probabilities.shape[1] - 1)
        q = following[:, problem.next_state]
        q[..., 0] = problem.score
        following = _mean(probabilities[:, now], q) - costs[:, min(time, costs.shape[1] - 1)]
    return following[:, problem.start]


def _mean(probabilities: Array, q: Array) -> Array:
    return np.einsum("rsv,rsv->rs", probabilities, q)
