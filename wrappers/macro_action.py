"""One step is several tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from rlhf_env.checks import check_count
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from wrappers.boundary import Boundary, StateBoundary, state_boundary
from wrappers.decisions import decisions_by_boundary, decisions_of_size
from wrappers.macro_space import macro_space
from wrappers.macro_step import plan_row, take
from wrappers.order import check_one_granularity, check_undiscounted, token_mdp


class MacroAction(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Take several tokens as one action: ``n`` of them, or as many as reach a boundary.

    The action is n token ids, or T with a boundary; those after the boundary or the end of the
    episode are ignored. The reward is the sum of what the tokens are paid, not discounted within
    the action; each reward term and ``ref_logprob`` likewise. Under ``kl_penalty="sampled"``
    without a policy the action is ``{"tokens": [n], "logprobs": [n]}``.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import MacroAction
        >>> env = MacroAction(gym.make("RLHF-v0", task="toy15", kl_coef=0.0), n=2)
        >>> _ = env.reset(seed=0)
        >>> [tuple(map(float, env.step(action)[1:3])) for action in ([1, 2], [0, 0])]
        [(0.0, 0.0), (0.75, 1.0)]
    """

    def __init__(
        self, env: gym.Env[Any, Any], n: int | None = None, boundary: Boundary | None = None
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            n: tokens per action, >= 1.
            boundary: ``f(prefix_ids, task) -> bool``, True if an action ends after the last token
                of ``prefix_ids``, the response so far; or a `wrappers.boundary.StateBoundary`.
                `wrappers.boundaries` has some.

        Raises:
            ValueError: unless exactly one of ``n`` and ``boundary`` is given and usable, or if
                the order of wrappers makes no sense.
        """
        mdp = macro_mdp(env)
        self.span = Span.of(n, boundary, mdp)
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, n=n, boundary=boundary)
        gym.Wrapper.__init__(self, env)
        self.tokens_per_action = self.span.size
        self.action_space = macro_space(env.action_space, self.span.size, "MacroAction")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append tokens up to the end of the action or of the episode.

        Raises:
            ValueError: if the action is not in the action space; nothing has changed then.
        """
        mdp = token_mdp(self.env, "MacroAction")
        plan = plan_row(action, self.env, mdp, self.span.size)
        tokens = (plan.row_action(0, step) for step in range(self.span.size))
        return take(self.env, tokens, lambda: self.span.are_over(mdp, [0])[0])

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes with the decision that each token belongs to."""
        mdp = token_mdp(self.env, "MacroAction")
        return rollout.replace(decision=self.span.decisions(rollout, mdp))


@dataclass(frozen=True, kw_only=True)
class Span:
    """How far a macro action reaches.

    Attributes:
        size: the most tokens of an action.
        boundary: says after which token an action ends; None if only ``size`` does.
    """

    size: int
    boundary: StateBoundary | None = None

    @classmethod
    def of(cls, n: int | None, boundary: Boundary | None, mdp: TokenMDP) -> Span:
        """Return the span that a caller asked for.

        Raises:
            ValueError: unless exactly one of ``n`` and ``boundary`` is given and usable.
        """
        if (n is None) == (boundary is None):
            raise ValueError(
                f"MacroAction needs n or boundary, exactly one of them, got n={n!r} and "
                f"boundary={boundary!r}"
            )
        if boundary is None:
            check_count("n", n)
            assert n is not None, "checked above"
            return cls(size=n)
        return cls(size=mdp.max_new_tokens, boundary=state_boundary(boundary))

    def are_over(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether the action ends after the token that they have written."""
        if self.boundary is None or not rows:
            return [False] * len(rows)
        return self.boundary.ends_now(mdp, rows)

    def decisions(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return [B, L] the decision that each token belongs to; -1 where no action."""
        if self.boundary is None:
            return decisions_of_size(rollout, self.size)
        return decisions_by_boundary(rollout, self.boundary, mdp)


def macro_mdp(env: Any) -> TokenMDP:
    """Return the MDP that macro actions may be made of.

    Raises:
        TypeError: if the environment is not an ``RLHF-v0``.
        ValueError: if its steps are not single tokens, or are paid for a discount.
    """
    mdp = token_mdp(env, "MacroAction")
    check_one_granularity(env, "MacroAction")
    check_undiscounted(env, "MacroAction")
    return mdp
