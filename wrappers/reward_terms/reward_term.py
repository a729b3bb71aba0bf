"""A reward term: its name, its value at one step, and its values in finished episodes.

No environment is in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class Responses:
    """B responses, finished or not."""

    prompts: list[Tensor]
    """B prompts, token ids."""
    responses: list[Tensor]
    """B responses, token ids, at least one each; in a conversation with what the environment said,
    which the last entries may be."""
    is_action: list[Tensor]
    """B vectors [len] bool, the tokens that the agent chose."""
    starts: list[Tensor]
    """B vectors [actions]: how many actions' tokens came before the decision that each token of the
    agent's belongs to. Only the last entry counts where only the last step is asked for."""
    terminated: Tensor
    """[B] bool, True where the last token terminates the episode."""
    score_term: Tensor
    """[B] the reward term "score" of the step that wrote the last token."""

    @property
    def lengths(self) -> Tensor:
        """[B] the tokens that the agent chose, on the CPU."""
        return torch.stack([is_action.sum().cpu() for is_action in self.is_action])

    def actions(self) -> list[Tensor]:
        """Return the ids that the agent chose, B vectors on the CPU."""
        pairs = zip(self.responses, self.is_action, strict=True)
        return [ids[is_action].cpu() for ids, is_action in pairs]


@dataclass(frozen=True, kw_only=True)
class RewardTerm:
    """How one term of the reward is computed, step by step and for whole episodes."""

    name: str
    """Its key in ``reward_terms``; a term of that name is replaced."""
    last_step: Callable[[Responses], Tensor]
    """``f(responses) -> [B]``, the term at the step that wrote the last token of each response."""
    rollout: Callable[[Rollout], Rollout]
    """The same for every token of finished episodes."""
    gamma: float = 1.0
    """The discount per decision at which the term leaves the optimum unchanged."""
    per_action: bool = False
    """Whether the term can be computed for actions of several tokens as well as single tokens."""
