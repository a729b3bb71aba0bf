"""A task's ``step_scores``, the scores of ended turns, as scores of the states between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlhf_env.conversation import StepScores
from wrappers.reward_terms.reward_term import Responses
from wrappers.reward_terms.score_scale import ScoreScale
from wrappers.stack.order import VIEW, HasScoreScale, check_order, inner_wrappers


@dataclass(frozen=True, kw_only=True)
class TurnScores:
    """Scores each state by the latest turn that has ended there, 0 before the first has.

    What the environment answers changes nothing: a state in which it has spoken has the score of
    the turn before.
    """

    step_scores: StepScores
    """Of the task."""
    turn_end_id: int
    """The token that ends a turn."""
    scale: ScoreScale | None = None
    """The units of the environment's score, where they are not those of the task."""

    @classmethod
    def of(cls, env: Any, name: str) -> TurnScores:
        """Return the scores of an environment's turns.

        Args:
            env: an ``RLHF-v0``, wrapped or not.
            name: the name of the wrapper that needs them, for the error.

        Raises:
            TypeError: if ``env`` is another environment.
            ValueError: if the task has no ``step_scores``.
        """
        task = check_order(env, name, VIEW).task
        if task.step_scores is None:
            raise ValueError(
                f"{name} needs a task that scores ended turns, got {task.name!r} without "
                "step_scores; give the Task step_scores(prompts, histories), or use TerminalReward"
            )
        scales = [inner.scale for inner in inner_wrappers(env) if isinstance(inner, HasScoreScale)]
        return cls(
            step_scores=task.step_scores,
            turn_end_id=task.turn_end_id,
            scale=scales[0] if scales else None,
        )

    def __call__(self, given: Responses) -> list[Tensor]:
        """Return the scores of all states: B vectors [actions + 1] float64 on the CPU.

        The end of a finished episode is not asked for: its score is the environment's own. There
        the score of the turn before stands.

        Raises:
            ValueError: if there are too few or too many scores, or one is not finite.
        """
        ends = [
            is_action.cpu() & (ids.cpu() == self.turn_end_id)
            for ids, is_action in zip(given.responses, given.is_action, strict=True)
        ]
        for row, end in enumerate(ends):
            if given.terminated[row]:
                end[given.is_action[row].nonzero()[-1]] = False
        places = [(row, at) for row, end in enumerate(ends) for at in end.nonzero().flatten()]
        scores = self._checked(
            [given.prompts[row].clone() for row, _ in places],
            [given.responses[row][: at + 1].clone() for row, at in places],
        )
        found, asked = [], 0
        for is_action, end in zip(given.is_action, ends, strict=True):
            count = int(end.sum())
            levels = torch.cat([scores.new_zeros(1), scores[asked : asked + count]])
            asked += count
            ended = end[is_action.cpu()].cumsum(dim=0)
            found.append(levels[torch.cat([ended.new_zeros(1), ended])])
        return found

    def _checked(self, prompts: list[Tensor], histories: list[Tensor]) -> Tensor:
        """Return the finite scores of some histories, in the environment's units, [n] float64."""
        if not histories:
            return torch.zeros(0, dtype=torch.float64)
        answer = torch.as_tensor(self.step_scores(prompts, histories)).detach()
        scores = answer.to("cpu", torch.float64)
        if scores.shape != (len(histories),) or not scores.isfinite().all():
            raise ValueError(
                f"step_scores must return {len(histories)} finite numbers, one per history, got "
                f"{scores.flatten().tolist()[:8]} of shape {list(scores.shape)}"
            )
        return scores if self.scale is None else self.scale.of(scores)
