"""The part of the MDP's state that only conversations have: whose tokens are whose."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlhf_env.conversation import replies
from rlhf_env.task import Task


class Dialogue:
    """N conversations side by side.

    Texts are [N, L]: a prompt, then turns of the agent and what the environment said between them.
    """

    def __init__(self, task: Task, max_new_tokens: int, texts: Tensor) -> None:
        """Make N rows in which nothing was said.

        Args:
            task: with ``respond``.
            max_new_tokens: T, the tokens that the agent may choose.
            texts: [N, L] the prompts and all that will be said; written by the caller, and by
                `add`.
        """
        self.task = task
        self.max_new_tokens = max_new_tokens
        self.texts = texts
        count = torch.zeros(len(texts), dtype=torch.int64, device=texts.device)
        self.is_action = torch.zeros(texts.shape, dtype=torch.bool, device=texts.device)
        # Of the episode before the present one, for rows that are reset in the step that ends it.
        self.former_is_action = self.is_action.clone()
        self.prompt_lengths, self.actions, self.turns, self.said = (count.clone() for _ in range(4))
        self.generators: list[np.random.Generator | None] = [None] * len(texts)

    def start(self, row: int, prompt_length: int, generator: np.random.Generator) -> None:
        """Begin a conversation.

        Args:
            row: its row.
            prompt_length: tokens of its prompt.
            generator: where ``respond`` draws from.
        """
        self.former_is_action[row] = self.is_action[row]
        self.is_action[row] = False
        self.prompt_lengths[row] = prompt_length
        self.actions[row] = self.turns[row] = self.said[row] = 0
        self.generators[row] = generator

    @property
    def lengths(self) -> Tensor:
        """[N] tokens of prompt, actions and answers."""
        return self.prompt_lengths + self.actions + self.said

    def last_action_end(self, row: int) -> int:
        """Return the number of tokens of a row up to and including the last action."""
        chosen = self.is_action[row].nonzero()
        return int(chosen[-1]) + 1 if len(chosen) else int(self.prompt_lengths[row])

    def answers(self, tokens: Tensor, rows: Tensor) -> dict[int, Tensor]:
        """Return what the environment says after some actions, by row; nothing changes yet.

        Rows that it does not answer, because no turn ended there, or that end, are left out.

        Args:
            tokens: [N] the actions.
            rows: [N] bool, the rows that take one.
        """
        asked = rows & (tokens == self.task.turn_end_id)
        asked &= self.actions + 1 < self.max_new_tokens
        if self.task.max_turns is not None:
            asked &= self.turns + 1 < self.task.max_turns
        numbers = asked.nonzero().flatten().tolist()
        if not numbers:
            return {}
        starts, ends = self.prompt_lengths.tolist(), self.lengths.tolist()
        said = zip(
            numbers,
            replies(
                self.task,
                [self.texts[row, : starts[row]].clone() for row in numbers],
                [
                    torch.cat([self.texts[row, starts[row] : ends[row]], tokens[row : row + 1]])
                    for row in numbers
                ],
                [self._generator(row) for row in numbers],
                (self.task.max_environment_tokens - self.said[asked]).tolist(),
            ),
            strict=True,
        )
        return {row: ids.to(self.texts.device) for row, ids in said if ids is not None}

    def add(self, tokens: Tensor, rows: Tensor, answers: dict[int, Tensor]) -> None:
        """Append an action in some rows, and the answers to them.

        Args:
            tokens: [N] the actions.
            rows: [N] bool, the rows that take one.
            answers: what `answers` returned for them.
        """
        numbers, at = rows.nonzero().flatten(), self.lengths[rows]
        self.texts[numbers, at] = tokens[rows]
        self.is_action[numbers, at] = True
        self.actions += rows
        self.turns += rows & (tokens == self.task.turn_end_id)
        for row, ids in answers.items():
            end = int(self.lengths[row])
            self.texts[row, end : end + len(ids)] = ids
            self.said[row] += len(ids)

    def _generator(self, row: int) -> np.random.Generator:
        generator = self.generators[row]
        assert generator is not None, "the row has begun"
        return generator
