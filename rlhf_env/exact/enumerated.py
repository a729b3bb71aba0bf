"""One prompt of a task with all its states, responses and scores, and models evaluated on them.

The recursions over these arrays are in `rlhf_env.exact`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlhf_env.exact.prompt import chosen_prompt
from rlhf_env.exact.response_tree import check_enumerable, prefixes
from rlhf_env.exact.state_tree import StateTree
from rlhf_env.rewards.protocol import Reward, as_scores, reward_name
from rlhf_env.task import Task

_MAX_BATCH_ELEMENTS = 1 << 22
_MAX_BATCH_ROWS = 4096

Array = NDArray[np.float64]


@runtime_checkable
class TokenProbabilities(Protocol):
    """An agent that can report its probabilities of the next token."""

    def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the probabilities of the next token after the first ``lengths[i]`` of row i.

        Args:
            tokens: [B, L] int64, prompt then response so far, padded on the right.
            lengths: [B] int64, tokens of each row that are not padding.

        Returns:
            [B, V] each row sums to 1.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EnumeratedTask(StateTree):
    """One prompt of a task and everything that can follow it.

    States are numbered as in `rlhf_env.exact.response_tree`. Responses are numbered so that state i
    ended by EOS is response i; then come those that reach the horizon without EOS.
    """

    prompt: Tensor
    """[P] int64 ids of the prompt."""
    vocab_size: int
    """V."""
    eos_id: int
    """The token that ends a response."""
    continuing: list[int]
    """The other V − 1 tokens, ascending."""
    tokens: tuple[Tensor, ...]
    """[n, depth] int64 for each depth 0 … T, all prefixes of that length."""
    scores: Array
    """[R] the task's reward of every response."""

    @property
    def sizes(self) -> list[int]:
        """The number of states of each depth 0 … T − 1."""
        return [len(level) for level in self.tokens[:-1]]

    def action_values(self, level: int, scores: Array, values: Array, gamma: Array) -> Array:
        """Return Q of every token in the states of a depth, [n, V].

        Args:
            level: the depth.
            scores: [R] what finishing pays.
            values: [S] of the states of later depths.
            gamma: [V] discount of what follows each token.
        """
        states = self.levels[level]
        q = np.empty((states.stop - states.start, self.vocab_size))
        q[:, self.eos_id] = scores[states]
        is_last = level + 1 == len(self.levels)
        following = scores[self.num_states :] if is_last else values[self.levels[level + 1]]
        discount = 1.0 if is_last else gamma[self.continuing]
        q[:, self.continuing] = discount * following.reshape(len(q), -1)
        return q

    def listed(self) -> list[tuple[int, ...]]:
        """Return the decision states in the order of their numbers."""
        return [tuple(row) for level in self.tokens[:-1] for row in level.tolist()]

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield prompt and prefix of all states in order, as (tokens [B, L], lengths [B])."""
        lengths = torch.cat(
            [torch.full((len(t),), len(self.prompt) + t.shape[1]) for t in self.tokens[:-1]]
        )
        width = int(lengths[-1])
        rows = torch.full((len(lengths), width), self.eos_id)
        rows[:, : len(self.prompt)] = self.prompt
        for states, level in zip(self.levels, self.tokens[:-1], strict=True):
            rows[states, len(self.prompt) : len(self.prompt) + level.shape[1]] = level
        size = max(1, min(_MAX_BATCH_ROWS, _MAX_BATCH_ELEMENTS // (width * self.vocab_size)))
        for tokens, counts in zip(rows.split(size), lengths.split(size), strict=True):
            yield tokens[:, : int(counts[-1])], counts


def enumerate_task(task: Task, prompt_index: int | None) -> EnumeratedTask:
    """Return all states, responses and scores of one prompt of a task.

    Raises:
        ValueError: if there are more than a million responses, the task is a conversation, or the
            prompt is not given.
    """
    if task.respond is not None:
        raise ValueError(
            f"task {task.name!r} is a conversation, whose episodes are not its responses alone; "
            "rlhf_env.exact.solve and evaluate take it"
        )
    check_enumerable(task.vocab_size, task.max_new_tokens)
    prompt = task.prompts[chosen_prompt(task, prompt_index)]
    continuing = [token for token in range(task.vocab_size) if token != task.eos_id]
    tokens = tuple(
        torch.tensor(list(prefixes(continuing, depth)), dtype=torch.int64)
        for depth in range(task.max_new_tokens + 1)
    )
    ended = [torch.nn.functional.pad(level, (0, 1), value=task.eos_id) for level in tokens[:-1]]
    responses = [row for level in (*ended, tokens[-1]) for row in level.unbind()]
    return EnumeratedTask(
        prompt=prompt,
        vocab_size=task.vocab_size,
        eos_id=task.eos_id,
        continuing=continuing,
        tokens=tokens,
        scores=response_scores(task.reward, prompt, responses),
    )


def model_logprobs(tree: StateTree, model: nn.Module) -> Array:
    """Return [S, V] log-probabilities of the next token by a causal language model."""
    found = []
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with torch.no_grad(), evaluating(model):
        for tokens, lengths in tree.batches():
            mask = torch.arange(tokens.shape[1]) < lengths[:, None]
            output = model(input_ids=tokens.to(device), attention_mask=mask.long().to(device))
            rows = torch.arange(len(tokens), device=device)
            last = output.logits[rows, lengths.to(device) - 1, : tree.vocab_size]
            found.append(last.double().log_softmax(dim=-1).cpu())
    return torch.cat(found).numpy()


def agent_logprobs(tree: StateTree, agent: TokenProbabilities) -> Array:
    """Return [S, V] log-probabilities of the next token by an agent."""
    answers = []
    with torch.no_grad():
        for tokens, lengths in tree.batches():
            answer = torch.as_tensor(agent.token_probabilities(tokens, lengths)).double().cpu()
            if answer.shape != (len(tokens), tree.vocab_size):
                raise ValueError(
                    "token_probabilities must return one row of probabilities for each text, "
                    f"{[len(tokens), tree.vocab_size]}, got shape {list(answer.shape)}"
                )
            answers.append(answer)
    return _checked_log(tree, torch.cat(answers).numpy())


def function_logprobs(
    tree: StateTree, policy: Callable[[tuple[int, ...]], Sequence[float]]
) -> Array:
    """Return [S, V] log-probabilities of the next token by a function of the prefix."""
    probabilities = np.empty((tree.num_states, tree.vocab_size))
    for index, prefix in enumerate(tree.states):
        row = np.asarray(policy(prefix), dtype=np.float64)
        if row.shape != (tree.vocab_size,):
            raise ValueError(
                f"policy({prefix}) must return {tree.vocab_size} probabilities, "
                f"got shape {list(row.shape)}"
            )
        probabilities[index] = row
    return _checked_log(tree, probabilities)


def _checked_log(tree: StateTree, probabilities: Array) -> Array:
    wrong_sum = ~(np.abs(probabilities.sum(axis=1) - 1.0) <= 1e-4)
    wrong = np.flatnonzero(wrong_sum | ~(probabilities >= 0.0).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"the policy's probabilities after {tree.states[wrong[0]]} must be at least 0 and sum "
            f"to 1, got {probabilities[wrong[0]].tolist()}"
        )
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def response_scores(reward: Reward, prompt: Tensor, responses: list[Tensor]) -> Array:
    """Return the scores of some responses to one prompt, [R] float64."""
    found = []
    for start in range(0, len(responses), _MAX_BATCH_ROWS):
        batch = responses[start : start + _MAX_BATCH_ROWS]
        answer = reward([prompt] * len(batch), batch)
        as_scores(answer, len(batch), reward_name(reward))
        # The check answers in float32, which would round what is exact here.
        found.append(torch.as_tensor(answer).detach().to("cpu", torch.float64))
    return torch.cat(found).numpy()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off, and afterwards back on where it was on."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
