"""One step is several tokens."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from rlhf_env.rollout import Rollout
from wrappers.macro.action_space import macro_space
from wrappers.macro.boundary import Boundary
from wrappers.macro.span import Span
from wrappers.macro.steps import take_rows, take_tokens
from wrappers.stack.order import GRANULARITY, check_order, token_mdp
from wrappers.stack.vector_base import VectorBase


class MacroAction(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Take several tokens as one action: ``n`` of them, or as many as reach a boundary.

    The action is n token ids, or T with a boundary; those after the boundary or the end of the
    episode are ignored. The reward is the sum of the tokens' rewards, not discounted within the
    action; each reward term and ``ref_logprob`` likewise. Under ``kl_penalty="sampled"`` without a
    policy the action is ``{"tokens": [n], "logprobs": [n]}``.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import MacroAction
        >>> env = MacroAction(gym.make("RLHF-v0", task="toy15", kl_coef=0.0), n=2)
        >>> _ = env.reset(seed=0)
        >>> [tuple(map(float, env.step(action)[1:3])) for action in ([1, 2], [0, 0])]
        [(0.0, 0.0), (0.75, 1.0)]
    """

    def __init__(
        self, env: gym.Env[Any, Any], n: int | None = None, boundary: Boundary | str | None = None
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            n: tokens per action, >= 1.
            boundary: ``f(prefix_ids, task) -> bool``, True if an action ends after the last token
                of ``prefix_ids``, the response so far; or a `wrappers.boundaries.StateBoundary`;
                or "turn", the task's end-of-turn token. `wrappers.boundaries` has some.

        Raises:
            ValueError: unless exactly one of ``n`` and ``boundary`` is given and usable, or if
                the order of wrappers makes no sense.
        """
        mdp = check_order(env, "MacroAction", GRANULARITY)
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
        return take_tokens(self.env, action, self.span.size, self.span.are_over)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes with the decision that each token belongs to."""
        return rollout.replace(decision=self.span.decisions(rollout, token_mdp(self.env)))


class VectorMacroAction(VectorBase, RecordConstructorArgs):
    """Vector version of `MacroAction`; actions are [N, n], or [N, T] with a boundary.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import MacroAction
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15", kl_coef=0.0)
        >>> envs = MacroAction(envs, n=2)
        >>> _ = envs.reset(seed=0)
        >>> _, rewards, terminated, _, _ = envs.step(np.array([[1, 2], [1, 0]]))
        >>> rewards.tolist(), terminated.tolist()
        ([0.0, 1.25], [False, True])
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        n: int | None = None,
        boundary: Boundary | str | None = None,
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            n: tokens per action, >= 1.
            boundary: ``f(prefix_ids, task) -> bool``, True if an action ends after the last token
                of ``prefix_ids``, the response so far; or a `wrappers.boundaries.StateBoundary`;
                or "turn", the task's end-of-turn token.

        Raises:
            ValueError: unless exactly one of ``n`` and ``boundary`` is given and usable, or if
                the order of wrappers makes no sense.
        """
        mdp = check_order(env, "MacroAction", GRANULARITY)
        self.span = Span.of(n, boundary, mdp)
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, n=n, boundary=boundary)
        super().__init__(env)
        self.tokens_per_action = self.span.size
        space = macro_space(env.single_action_space, self.span.size, "MacroAction")
        self.single_action_space = space
        self.action_space = batch_space(space, env.num_envs)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append tokens in every row up to the end of its action or of its episode.

        Returns:
            Observations, rewards [N], terminated [N], truncated [N], info.

        Raises:
            ValueError: if an action is not in the action space; no row has changed then.
        """
        return take_rows(self.env, actions, self.span.size, self.span.are_over)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes with the decision that each token belongs to."""
        return rollout.replace(decision=self.span.decisions(rollout, token_mdp(self.env)))
