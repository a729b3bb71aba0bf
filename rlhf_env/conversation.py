"""Turns: what the environment says after each in a conversation, and what each is worth.

A turn of the agent ends with an end-of-turn token. The task's ``respond`` is then given the text so
far and answers with tokens, which enter the prefix without being actions, or with None, which ends
the episode. Without ``respond`` the turns are the lines of a single response.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from rlhf_env.checks import check_count, check_takes

Respond = Callable[[list[Tensor], list[Tensor], list[np.random.Generator]], Sequence[Tensor | None]]
"""``respond(prompts, histories, generators)``: for each of n rows the ids [P] of its prompt, the
ids [H] of all that was said since, the end-of-turn token included, and the row's random numbers.
It returns for each row the ids of what the environment says, int64 [k], or None to end."""

StepScores = Callable[[list[Tensor], list[Tensor]], Tensor]
"""``step_scores(prompts, histories) -> [B]``: how good an episode is after an ended turn, on the
scale of the final score. A history is the ids [H] of all that was said since the prompt; it ends
with the end-of-turn token, before the environment answers."""


Outcomes = Sequence[tuple[float, Sequence[int] | None]]
"""What the environment may say: probabilities, and ids or None where the episode ends."""


@runtime_checkable
class KnownRespond(Protocol):
    """A ``respond`` whose answers have known probabilities, so that exact answers exist."""

    def outcomes(self, prompt: tuple[int, ...], history: tuple[int, ...]) -> Outcomes:
        """Return all that the environment may say after a turn, with positive probabilities.

        Args:
            prompt: ids of the prompt.
            history: ids of all that was said since, the end-of-turn token included.
        """
        ...


class DrawnAnswers(ABC):
    """A ``respond`` that draws from known outcomes: give it `outcomes`, as `KnownRespond` says.

    Example:
        >>> import numpy as np, torch
        >>> from rlhf_env.conversation import DrawnAnswers
        >>> class Coin(DrawnAnswers):
        ...     def outcomes(self, prompt, history):
        ...         return [(0.5, (3,)), (0.5, None)]
        >>> [row is None for row in Coin()(
        ...     [torch.tensor([1])] * 3, [torch.tensor([2])] * 3,
        ...     [np.random.default_rng(seed) for seed in range(3)])]
        [True, True, False]
    """

    @abstractmethod
    def outcomes(self, prompt: tuple[int, ...], history: tuple[int, ...]) -> Outcomes:
        """Return all that the environment may say after a turn; see `KnownRespond`."""

    def __call__(
        self,
        prompts: list[Tensor],
        histories: list[Tensor],
        generators: list[np.random.Generator],
    ) -> list[Tensor | None]:
        """Draw an answer in each row; one that is certain takes no random number."""
        rows = zip(prompts, histories, generators, strict=True)
        return [self._drawn(*row) for row in rows]

    def _drawn(
        self, prompt: Tensor, history: Tensor, generator: np.random.Generator
    ) -> Tensor | None:
        outcomes = checked_outcomes(self.outcomes(tuple(prompt.tolist()), tuple(history.tolist())))
        chosen = 0
        if len(outcomes) > 1:
            total = np.cumsum([chance for chance, _ in outcomes])
            chosen = int(np.searchsorted(total, generator.random() * total[-1], side="right"))
        ids = outcomes[chosen][1]
        return None if ids is None else torch.tensor(ids, dtype=torch.int64)


def checked_outcomes(outcomes: Outcomes) -> list[tuple[float, tuple[int, ...] | None]]:
    """Return outcomes as tuples.

    Raises:
        ValueError: unless their probabilities are positive and add up to 1.
    """
    chances = [chance for chance, _ in outcomes]
    if not chances or min(chances) <= 0 or abs(sum(chances) - 1.0) > 1e-9:
        raise ValueError(
            f"outcomes must have positive probabilities that add up to 1, got {chances}"
        )
    return [(float(p), None if ids is None else tuple(map(int, ids))) for p, ids in outcomes]


def check_conversation(
    respond: Any,
    *,
    end_of_turn_id: Any,
    max_turns: Any,
    max_environment_tokens: Any,
    step_scores: Any,
    vocab_size: int,
) -> None:
    """Refuse settings of turns that cannot be used.

    Args:
        respond: the field of that name of a task, as the next four are.
        end_of_turn_id: likewise.
        max_turns: likewise.
        max_environment_tokens: likewise.
        step_scores: likewise.
        vocab_size: V.

    Raises:
        ValueError: naming the field.
    """
    if respond is None:
        given = {"max_turns": max_turns, "max_environment_tokens": max_environment_tokens}
        for name, value in given.items():
            if value not in (None, 0):
                raise ValueError(
                    f"{name} is of conversations, got {value!r} without respond; "
                    "give respond, or leave it out"
                )
    else:
        if not callable(respond):
            raise ValueError(
                "respond must be a function (prompts, histories, generators), "
                f"got {type(respond).__name__}"
            )
        check_takes("respond", respond, ("prompts", "histories", "generators"))
        check_count("max_environment_tokens", max_environment_tokens)
        if max_turns is not None:
            check_count("max_turns", max_turns)
    if end_of_turn_id is not None:
        check_count("end_of_turn_id", end_of_turn_id, minimum=0)
        if end_of_turn_id >= vocab_size:
            raise ValueError(
                f"end_of_turn_id must be one of the {vocab_size} token ids, got {end_of_turn_id}"
            )
    if step_scores is not None:
        if not callable(step_scores):
            raise ValueError(
                "step_scores must be a function (prompts, histories) -> [B], "
                f"got {type(step_scores).__name__}"
            )
        check_takes("step_scores", step_scores, ("prompts", "histories"))
        if respond is None and end_of_turn_id is None:
            raise ValueError(
                "step_scores is of tasks with turns, got it without respond and end_of_turn_id; "
                "give end_of_turn_id, the token that ends a line, or leave it out"
            )


def replies(
    respond: Respond,
    prompts: list[Tensor],
    histories: list[Tensor],
    generators: list[np.random.Generator],
    *,
    rooms: Sequence[int],
    vocab_size: int,
) -> list[Tensor | None]:
    """Return what the environment says after a turn of each of some rows, checked.

    Args:
        respond: of the task.
        prompts: n vectors of ids.
        histories: n vectors of ids, all that was said after the prompt; fresh memory.
        generators: n sources of random numbers.
        rooms: how many more tokens the environment may say in each row.
        vocab_size: V.

    Raises:
        ValueError: if an answer is no vector of token ids, or too long.
    """
    answers = respond(prompts, histories, generators)
    if len(answers) != len(prompts):
        raise ValueError(f"respond must return {len(prompts)} answers, got {len(answers)}")
    pairs = zip(answers, rooms, strict=True)
    return [None if ids is None else _checked(ids, room, vocab_size) for ids, room in pairs]


def _checked(answer: Tensor, room: int, vocab_size: int) -> Tensor:
    try:
        ids = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"respond must answer with a vector of token ids or None, got {answer!r:.80}; "
            "encode a text by the task's tokenizer"
        ) from error
    if ids.dim() != 1 or ids.dtype.is_floating_point or ids.dtype == torch.bool:
        raise ValueError(
            "respond must answer with a vector of token ids or None, got "
            f"{ids.dtype} of shape {list(ids.shape)}"
        )
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise ValueError(
            f"respond must answer with token ids in [0, {vocab_size}), got "
            f"{int(ids.min())} to {int(ids.max())}"
        )
    if len(ids) > room:
        raise ValueError(
            f"respond said {len(ids)} tokens where max_environment_tokens leaves {room}; answer "
            "shorter, end the episode with None, or raise it"
        )
    return ids.long()
