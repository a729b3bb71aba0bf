"""How far a policy is from the optimum, estimated on its own episodes.

J* − J(pi) = beta E_pi[Σ_t gamma^t KL(pi(.|s_t) || pi*(.|s_t))]: the soft advantage of a token under
the optimum is beta log(pi* / pi_ref), and what pi loses in a state is its mean short of beta times
the KL to the reference. Every state's whole distribution is looked at, so the estimate is never
negative, is 0 exactly at the optimum, and needs nothing of the policy but its probabilities: it may
see the whole prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlhf_env.checks import check_positive
from rlhf_env.engine.language_model import length_batches
from rlhf_env.exact.bellman import Array, state_kl
from rlhf_env.exact.by_state import Prefix, StatePolicy, state_problem, state_rows
from rlhf_env.exact.enumerated import TokenProbabilities, evaluating
from rlhf_env.exact.prompt import check_is_task
from rlhf_env.exact.solution import Policy, solve
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


def regret(
    task: Task,
    rollout: Rollout,
    policy: Policy,
    kl_coef: float,
    gamma: float = 1.0,
    *,
    discount_unit: str = "decision",
) -> tuple[float, float]:
    """Estimate J* − J of the policy that drew some episodes.

    Args:
        task: one that `solve` can solve; responses that reach the horizon must be scored.
        rollout: B episodes that the policy drew.
        policy: the policy, in any of the forms that `evaluate` takes.
        kl_coef: beta > 0.
        gamma: discount of the objective, in [0, 1].
        discount_unit: what it is per, as of `solve`.

    Returns:
        The mean over the episodes and its standard error (0 for a single episode).

    Raises:
        ValueError: if the task cannot be solved, a number is out of range, or a prompt is not the
            task's.
        TypeError: if it is no `rlhf_env.Task`.
    """
    found = episode_regrets(task, rollout, policy, kl_coef, gamma, discount_unit=discount_unit)
    error = float(found.std() / len(found) ** 0.5) if len(found) > 1 else 0.0
    return float(found.mean()), error


def episode_regrets(
    task: Task,
    rollout: Rollout,
    policy: Policy,
    kl_coef: float,
    gamma: float = 1.0,
    *,
    discount_unit: str = "decision",
) -> Tensor:
    """Return beta Σ_t gamma^t KL(pi || pi*) of each episode, [B] float64.

    Their mean under the policy, weighed by the probability of each episode, is J* − J.
    """
    check_is_task(task)
    check_positive("kl_coef", kl_coef)
    steps = _Steps(rollout)
    optimum = _by_prompt(
        task,
        steps,
        lambda prompt: (
            solve(task, kl_coef, gamma, discount_unit=discount_unit, prompt_index=prompt).policy
        ),
    )
    gaps = state_kl(_policy_logprobs(task, steps, policy), optimum)
    passed = steps.turns(task.turn_end_id) if discount_unit == "turn" else steps.times
    discounted = torch.from_numpy(gamma**passed * gaps)
    total = torch.zeros(len(rollout), dtype=torch.float64)
    return kl_coef * total.index_add_(0, torch.from_numpy(steps.rows), discounted)


class _Steps:
    """The M decisions of some episodes, row by row."""

    def __init__(self, rollout: Rollout) -> None:
        self.tokens = rollout.tokens.cpu()
        self.is_action = rollout.is_action.cpu()
        self.prompt_lengths = rollout.prompt_lengths.cpu()
        self.prompts = [tuple(prompt.tolist()) for prompt in rollout.prompts()]
        rows, columns = self.is_action.nonzero().unbind(1)
        self.rows: NDArray[np.int64] = rows.numpy()
        # How much was said before each decision, and how many decisions; in a conversation the
        # environment's part makes the difference.
        self.said: NDArray[np.int64] = (columns - self.prompt_lengths[rows]).numpy()
        count = self.is_action.long().cumsum(dim=1) - 1
        self.times: NDArray[np.int64] = count[rows, columns].numpy()
        self.responses = [response.cpu() for response in rollout.responses()]

    def __len__(self) -> int:
        return len(self.rows)

    def turns(self, turn_end_id: int) -> NDArray[np.int64]:
        """Return how many turns have ended before each decision, [M]."""
        ends = (self.is_action & (self.tokens == turn_end_id)).long()
        return (ends.cumsum(dim=1) - ends)[self.is_action].numpy()

    def prefixes(self) -> list[tuple[int, ...]]:
        """Return the tokens of the response before each decision."""
        texts = [tuple(response.tolist()) for response in self.responses]
        return [texts[row][:said] for row, said in zip(self.rows, self.said, strict=True)]


def _by_prompt(
    task: Task, steps: _Steps, policy: Callable[[int], Mapping[Prefix, Sequence[float]]]
) -> Array:
    """Return the log-probabilities of each prompt's own mapping at every decision, [M, V]."""
    known = {tuple(prompt.tolist()): index for index, prompt in enumerate(task.prompts)}
    if foreign := set(steps.prompts) - known.keys():
        raise ValueError(
            f"the rollout holds the prompt {list(min(foreign))}, which is none of the task's; "
            "an optimum is known for those only"
        )
    found = np.empty((len(steps), task.vocab_size))
    prompts = np.array([known[prompt] for prompt in steps.prompts])[steps.rows]
    for prompt in np.unique(prompts):
        asked = prompts == prompt
        found[asked] = _mapped(policy(int(prompt)), steps, asked)
    return found


def _mapped(
    policy: Mapping[Prefix, Sequence[float]], steps: _Steps, asked: NDArray[np.bool_]
) -> Array:
    """Return the log-probabilities of a mapping at some of the decisions, [m, V]."""
    if isinstance(policy, StatePolicy):
        return _by_state(policy, steps, asked)
    return _by_prefix(policy.__getitem__, steps, asked)


def _by_state(policy: StatePolicy, steps: _Steps, asked: NDArray[np.bool_]) -> Array:
    rows, times = steps.rows[asked], steps.times[asked]
    problem = policy.problem
    starts = torch.full((len(steps.responses),), problem.start)
    tokens = torch.nn.utils.rnn.pad_sequence(steps.responses, True)
    states = problem.automaton.states(starts, tokens).numpy()[rows, times]
    found = np.empty((len(rows), problem.automaton.vocab_size))
    for time in np.unique(times):
        now = times == time
        found[now] = policy.logprobs(int(time), states[now])
    return found


def _by_prefix(function: Callable[..., object], steps: _Steps, asked: NDArray[np.bool_]) -> Array:
    prefixes = [p for p, wanted in zip(steps.prefixes(), asked, strict=True) if wanted]
    known = {prefix: function(prefix) for prefix in set(prefixes)}
    with np.errstate(divide="ignore"):
        return np.log(np.array([known[prefix] for prefix in prefixes], dtype=np.float64))


def _policy_logprobs(task: Task, steps: _Steps, policy: Policy) -> Array:
    """Return log pi(.|s) at every decision, [M, V]."""
    everywhere = np.ones(len(steps), dtype=bool)
    if isinstance(policy, TokenProbabilities):
        return _of_agent(policy, steps, task.vocab_size)
    if isinstance(policy, nn.Module):
        return _of_model(policy, steps, task.vocab_size)
    if isinstance(policy, np.ndarray | Tensor):
        return _by_prompt(task, steps, lambda prompt: _of_array(task, policy, prompt))
    if isinstance(policy, Mapping):
        return _mapped(policy, steps, everywhere)
    return _by_prefix(cast(Callable[..., object], policy), steps, everywhere)


def _of_array(task: Task, policy: Array | Tensor, prompt_index: int) -> StatePolicy:
    problem = state_problem(task, prompt_index)
    rows = None if problem is None else state_rows(problem, policy)
    if problem is None or rows is None:
        raise TypeError("a policy can be an array only for an automaton task; give a function")
    return StatePolicy(problem, rows)


def _of_agent(agent: TokenProbabilities, steps: _Steps, vocab_size: int) -> Array:
    """Ask an agent after one more token of all episodes at a time, which a cache makes cheap."""
    found = np.empty((len(steps), vocab_size))
    said = torch.zeros(len(steps.tokens), dtype=torch.int64)
    for time in range(int(steps.times.max()) + 1):
        # An episode that is over stays at its last decision.
        deciding = steps.times == time
        said[steps.rows[deciding]] = torch.from_numpy(steps.said[deciding])
        lengths = steps.prompt_lengths + said
        with torch.no_grad():
            answer = agent.token_probabilities(steps.tokens, lengths).double().cpu().numpy()
        with np.errstate(divide="ignore"):
            found[deciding] = np.log(answer[steps.rows[deciding]])
    return found


def _of_model(model: nn.Module, steps: _Steps, vocab_size: int) -> Array:
    found = torch.empty(*steps.tokens.shape, vocab_size, dtype=torch.float64)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with torch.no_grad(), evaluating(model):
        for rows, width in length_batches(steps.is_action):
            tokens = steps.tokens[rows, : width - 1].to(device)
            logits = model(input_ids=tokens).logits[..., :vocab_size]
            found[rows, 1:width] = logits.double().log_softmax(dim=-1).cpu()
    return found[steps.is_action].numpy()
