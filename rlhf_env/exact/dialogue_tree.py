"""One prompt of a conversation with everything that either side can say: a tree with chance nodes.

A state is what was said so far, the agent to choose the next token. After a token that ends a turn
the environment answers by chance; the answers and their probabilities are those of the task's
``respond.outcomes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_env.conversation import KnownRespond, checked_outcomes
from rlhf_env.exact.enumerated import response_scores
from rlhf_env.exact.prompt import chosen_prompt
from rlhf_env.exact.response_tree import MAX_RESPONSES
from rlhf_env.exact.state_tree import StateTree
from rlhf_env.task import Task

_BATCH_ROWS = 4096

Array = NDArray[np.float64]
History = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Level:
    """The states after t actions, and where their actions lead.

    The i-th transition is from state ``source[i]`` of this level by ``token[i]``, with probability
    ``chance[i]``, to state ``target[i]`` of the next.
    """

    histories: list[History]
    """What was said in each state."""
    ends: Array
    """[n, V] the probability that the episode ends with a token."""
    source: NDArray[np.int64]
    token: NDArray[np.int64]
    target: NDArray[np.int64]
    chance: Array


@dataclass(frozen=True, kw_only=True)
class DialogueTree(StateTree):
    """One prompt of a conversation and everything that can follow it."""

    prompt: Tensor
    """[P] int64 ids of the prompt."""
    vocab_size: int
    """V."""
    pad_id: int
    """Fills up rows."""
    tree: list[Level]
    """The states after 0, 1, … T − 1 actions."""
    scores: Array
    """[S, V] the score of the episode that ends with a token; 0 where none does."""

    @property
    def sizes(self) -> list[int]:
        """The number of states after 0, 1, … actions."""
        return [len(level.histories) for level in self.tree]

    def listed(self) -> list[History]:
        """Return what was said in each state, in the order of their numbers."""
        return [history for level in self.tree for history in level.histories]

    def action_values(self, level: int, scores: Array, values: Array, gamma: Array) -> Array:
        """Return Q of every token in the states of a level, [n, V].

        Args:
            level: the number of actions before.
            scores: [S, V] what an episode that ends with a token is paid.
            values: [S] of the states of later levels.
            gamma: [V] discount of what follows each token.
        """
        here = self.tree[level]
        q = here.ends * scores[self.levels[level]]
        if len(here.source):
            following = values[self.levels[level + 1]]
            discounted = gamma[here.token] * here.chance * following[here.target]
            np.add.at(q, (here.source, here.token), discounted)
        return q

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the texts of all states in order, as (tokens [B, L], lengths [B])."""
        for start in range(0, self.num_states, _BATCH_ROWS):
            part = self.states[start : start + _BATCH_ROWS]
            lengths = torch.tensor([len(self.prompt) + len(history) for history in part])
            tokens = torch.full((len(part), int(lengths.max())), self.pad_id)
            tokens[:, : len(self.prompt)] = self.prompt
            for row, history in zip(tokens, part, strict=True):
                said = torch.tensor(history, dtype=torch.int64)
                row[len(self.prompt) : len(self.prompt) + len(said)] = said
            yield tokens, lengths


def enumerate_dialogue(task: Task, prompt_index: int | None) -> DialogueTree:
    """Return all states of one prompt of a conversation.

    Raises:
        ValueError: if the answers' probabilities are not known, there are more than a million
            actions to choose from in all, or the prompt is not given.
    """
    if not isinstance(task.respond, KnownRespond):
        raise ValueError(
            "exact answers need a respond whose answers have known probabilities, got "
            f"{type(task.respond).__name__} without outcomes(prompt, history); give it that method"
        )
    prompt = task.prompts[chosen_prompt(task, prompt_index)]
    levels: list[Level] = []
    turns: dict[History, int] = {(): 0}
    count = 0
    while turns:
        count += len(turns) * task.vocab_size
        if count > MAX_RESPONSES:
            raise ValueError(
                f"task {task.name!r} has more than {MAX_RESPONSES:,} states and tokens after "
                f"{len(levels)} actions; take fewer tokens, answers or turns, or a shorter horizon"
            )
        level, turns = _expand(task, prompt, turns, len(levels) + 1)
        levels.append(level)
    return DialogueTree(
        prompt=prompt,
        vocab_size=task.vocab_size,
        pad_id=task.pad_id,
        tree=levels,
        scores=_scores(task, prompt, levels),
    )


def _expand(
    task: Task, prompt: Tensor, turns: dict[History, int], actions: int
) -> tuple[Level, dict[History, int]]:
    """Return the states of one level with their transitions, and those of the next.

    Args:
        task: the conversation.
        prompt: [P] ids.
        turns: what was said in each state, and how many turns of the agent had ended.
        actions: the number of the agent's tokens in the next level.
    """
    ends = np.zeros((len(turns), task.vocab_size))
    following: dict[History, int] = {}
    numbers: dict[History, int] = {}
    found: list[tuple[int, int, int, float]] = []
    for source, (said, ended) in enumerate(turns.items()):
        for token in range(task.vocab_size):
            history = (*said, token)
            now_ended = ended + (token == task.turn_end_id)
            for chance, answer in _outcomes(task, prompt, history, actions, now_ended):
                if answer is None:
                    ends[source, token] += chance
                    continue
                then = (*history, *answer)
                if following.setdefault(then, now_ended) != now_ended:
                    raise ValueError(
                        f"{then} can be said in {following[then]} turns and in {now_ended}, so the "
                        "text is not the state; let answers begin with tokens of their own"
                    )
                found.append((source, token, numbers.setdefault(then, len(numbers)), chance))
    source, token, target, chance = zip(*found, strict=True) if found else ((), (), (), ())
    level = Level(
        histories=list(turns),
        ends=ends,
        source=np.array(source, dtype=np.int64),
        token=np.array(token, dtype=np.int64),
        target=np.array(target, dtype=np.int64),
        chance=np.array(chance, dtype=np.float64),
    )
    return level, following


def _outcomes(
    task: Task, prompt: Tensor, history: History, actions: int, turns: int
) -> Sequence[tuple[float, History | None]]:
    """Return what can follow an action: tokens, possibly none, or None where the episode ends."""
    assert isinstance(task.respond, KnownRespond)
    at_limit = actions == task.max_new_tokens
    if history[-1] != task.turn_end_id:
        return [(1.0, None if at_limit or history[-1] == task.eos_id else ())]
    if at_limit or (task.max_turns is not None and turns >= task.max_turns):
        return [(1.0, None)]
    return checked_outcomes(task.respond.outcomes(tuple(prompt.tolist()), history))


def _scores(task: Task, prompt: Tensor, levels: Sequence[Level]) -> Array:
    """Return the score of every episode by its last state and token, [S, V]."""
    ends = np.concatenate([level.ends for level in levels])
    histories = [history for level in levels for history in level.histories]
    scores = np.zeros_like(ends)
    where = np.argwhere(ends > 0).tolist()
    texts = [torch.tensor((*histories[state], token)) for state, token in where]
    scores[ends > 0] = response_scores(task.reward, prompt, texts)
    return scores
