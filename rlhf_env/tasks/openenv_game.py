"""An OpenEnv environment as the other side of a conversation: its answers, and its rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlhf_env.text.text_ids import plain_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Position:
    """Where a session stands: after a number of turns."""

    client: Any
    seed: int
    said: Ids = ()
    """Up to the end of the last turn."""
    answer: Ids | None = ()
    """What the environment said to it; None where the episode is over."""
    score: float = 0.0
    """The sum of the rewards."""


class OpenEnvGame:
    """``respond`` and reward of a task whose other side is an OpenEnv environment.

    Both are functions of prompt and history, as a `Task` needs them: the prompt tells the seed, and
    where no session stands at a history, one is reset and the turns are said again. What the
    environment says then must be what it said before. A turn is told to the environment when its
    end-of-turn token or EOS is there, so a last turn that is cut off at the horizon is not.
    """

    def __init__(
        self,
        client: Any,
        tokenizer: PreTrainedTokenizerBase,
        ends: Collection[int],
        seeds: Mapping[Ids, int],
        *,
        to_action: Callable[[str], dict[str, Any]],
        to_text: Callable[[dict[str, Any]], str],
        sessions: int = 1,
    ) -> None:
        """Play through a client; see `rlhf_env.tasks.openenv` for the other arguments.

        Args:
            client: a connected ``openenv.core.SyncEnvClient`` of dictionaries.
            tokenizer: the policy's.
            ends: the tokens that end a turn, EOS among them.
            seeds: for the ids of each prompt the seed that it is of.
            to_action: likewise.
            to_text: likewise.
            sessions: likewise.
        """
        self.client, self.tokenizer, self.ends, self.seeds = client, tokenizer, ends, seeds
        self.to_action, self.to_text, self.sessions = to_action, to_text, sessions
        # The one that was used last is last.
        self._positions: list[_Position] = []

    def respond(
        self, prompts: list[Tensor], histories: list[Tensor], generators: Sequence[Any]
    ) -> list[Tensor | None]:
        """Return what the environment says, the ``respond`` of a `Task`."""
        answers = [self._at(*row).answer for row in zip(prompts, histories, strict=True)]
        return [None if ids is None else torch.tensor(ids, dtype=torch.int64) for ids in answers]

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the sum of the environment's rewards for the turns of each response, [B]."""
        rows = zip(prompts, responses, strict=True)
        return torch.tensor([self._at(*row).score for row in rows])

    def close(self) -> None:
        """End all sessions."""
        self.client.close()

    def _at(self, prompt: Tensor, history: Tensor) -> _Position:
        """Return a session's position after the last turn that ends in a history."""
        key, said = tuple(prompt.tolist()), tuple(history.tolist())
        if key not in self.seeds:
            raise ValueError(
                "the prompt is none that the OpenEnv environment gave, got "
                f"{self._text(key)!r}; use the task's own prompts"
            )
        position = self._nearest(self.seeds[key], said)
        while True:
            heard = position.said + (position.answer or ())
            rest = said[len(position.said) :]
            if rest and (position.answer is None or said[: len(heard)] != heard):
                raise ValueError(
                    f"the OpenEnv environment with seed {position.seed} did not say what it said "
                    "before to the same turns; its answers must follow from seed and turns"
                )
            places = range(len(heard), len(said))
            end = next((place + 1 for place in places if said[place] in self.ends), None)
            if end is None:
                self._positions.append(position)
                return position
            position = self._said(position, said[:end], said[len(heard) : end])

    def _nearest(self, seed: int, said: Ids) -> _Position:
        """Take the position from which the fewest turns are missing out of the list."""
        ahead = [p for p in self._positions if p.seed == seed and said[: len(p.said)] == p.said]
        if ahead:
            best = max(ahead, key=lambda position: len(position.said))
            self._positions.remove(best)
            return best
        if len(self._positions) >= self.sessions:
            client = self._positions.pop(0).client
        else:
            client = self.client.new_session() if self._positions else self.client
        client.reset(seed=seed)
        return _Position(client=client, seed=seed)

    def _said(self, position: _Position, said: Ids, turn: Ids) -> _Position:
        result = position.client.step(self.to_action(self._text(turn)))
        answer = None if result.done else tuple(self._ids(self.to_text(result.observation)))
        score = position.score + float(result.reward or 0.0)
        return dataclasses.replace(position, said=said, answer=answer, score=score)

    def _ids(self, text: str) -> list[int]:
        return plain_ids(text, "the answer", self.tokenizer, add_special_tokens=False)

    def _text(self, ids: Ids) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
