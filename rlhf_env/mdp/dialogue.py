"""The part of the MDP's state that only conversations have: whose tokens are whose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rlhf_env.conversation import replies
from rlhf_env.mdp.transition import ends_text
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
        self.generators = [np.random.default_rng(0)] * len(texts)
        self._scripts: dict[int, list[Tensor | None]] = {}

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
        self._scripts.pop(row, None)

    def script(self, row: int, answers: Sequence[Tensor | None]) -> None:
        """Let the environment say in a row what it once said; ``respond`` is not asked.

        Args:
            row: has just begun.
            answers: after each turn, None where the episode ends; after the last of them it ends.
        """
        self._scripts[row] = list(answers)

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
        scripted = {row: self._scripted(row) for row in numbers if row in self._scripts}
        said = scripted | self._asked([row for row in numbers if row not in scripted], tokens)
        return {row: ids.to(self.texts.device) for row, ids in said.items() if ids is not None}

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

    def take(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Append an action in some rows, and what the environment says to it.

        Args:
            tokens: [N] the actions.
            rows: [N] bool, the rows that take one.

        Returns:
            [N] bool, which of these conversations have ended.
        """
        answers = self.answers(tokens, rows)
        self.add(tokens, rows, answers)
        ended = ends_text(tokens, self.task)
        if answers:
            ended[list(answers)] = False
        return rows & (ended | (self.actions == self.max_new_tokens))

    def _asked(self, rows: list[int], tokens: Tensor) -> dict[int, Tensor | None]:
        """Return what ``respond`` says to some rows after their actions."""
        if not rows:
            return {}
        starts, ends = self.prompt_lengths.tolist(), self.lengths.tolist()
        histories = [
            torch.cat([self.texts[row, starts[row] : ends[row]], tokens[row : row + 1]])
            for row in rows
        ]
        prompts = [self.texts[row, : starts[row]].clone() for row in rows]
        rooms = (self.task.max_environment_tokens - self.said[rows]).tolist()
        generators = [self.generators[row] for row in rows]
        assert self.task.respond is not None, "there is a dialogue in conversations only"
        answers = replies(
            self.task.respond,
            prompts,
            histories,
            generators,
            rooms=rooms,
            vocab_size=self.task.vocab_size,
        )
        return dict(zip(rows, answers, strict=True))

    def _scripted(self, row: int) -> Tensor | None:
        script, turn = self._scripts[row], int(self.turns[row])
        return script[turn] if turn < len(script) else None
