"""What a wrapper that pays a reward term must know: whom it pays, and how.

No environment is in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class Responses:
    """B responses, finished or not.

    Attributes:
        prompts: B prompts, token ids.
        responses: B responses, token ids, at least one each.
        starts: B vectors [len]: how many tokens of the response stood before the action that
            wrote each token. Where only the newest token is paid, only its entry counts.
        terminated: [B] bool, True where the last token terminates the episode.
        paid: [B] the score term paid at that token.
    """

    prompts: list[Tensor]
    responses: list[Tensor]
    starts: list[Tensor]
    terminated: Tensor
    paid: Tensor


@dataclass(frozen=True, kw_only=True)
class Pay:
    """How one reward term is paid.

    Attributes:
        term: its name in ``reward_terms``; a term of that name is replaced.
        newest: ``f(given: Responses) -> [B]``, what the last token of each response is paid.
        rollout: the same for every token of finished episodes.
        gamma: the discount per decision at which what is paid leaves the optimum alone.
    """

    term: str
    newest: Callable[[Responses], Tensor]
    rollout: Callable[[Rollout], Rollout]
    gamma: float = 1.0
