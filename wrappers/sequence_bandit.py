"""One step is one whole response."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from wrappers.macro.action_space import macro_space
from wrappers.macro.span import Span
from wrappers.macro.steps import take_rows, take_tokens
from wrappers.stack.order import GRANULARITY, check_order, token_mdp
from wrappers.stack.vector_base import VectorBase


class SequenceBandit(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Take a whole response as the action; every step terminates.

    The action is T token ids; those after the first EOS are ignored. The reward is the sum of the
    tokens' rewards, each reward term and ``ref_logprob`` likewise. Under ``kl_penalty="sampled"``
    without a policy the action is ``{"tokens": [T], "logprobs": [T]}``.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import SequenceBandit
        >>> env = SequenceBandit(gym.make("RLHF-v0", task="toy15", kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> _, reward, terminated, truncated, info = env.step([1, 0, 2])
        >>> float(reward), terminated, info["response_length"]
        (1.25, True, 2.0)
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.

        Raises:
            ValueError: if the environment truncates episodes, or the order of wrappers makes no
                sense.
        """
        self.span = whole_response(env)
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.tokens_per_action = self.span.size
        self.action_space = macro_space(env.action_space, self.span.size, "SequenceBandit")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Write a whole response.

        Raises:
            ValueError: if the action is not in the action space; nothing has changed then.
        """
        check_steps(token_mdp(self.env))
        observation, reward, _, _, info = take_tokens(
            self.env, action, self.span.size, self.span.are_over
        )
        return observation, reward, True, False, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as one decision each."""
        return rollout.replace(decision=self.span.decisions(rollout, token_mdp(self.env)))


class VectorSequenceBandit(VectorBase, RecordConstructorArgs):
    """Vector version of `SequenceBandit`; actions are [N, T].

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import SequenceBandit
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15", kl_coef=0.0)
        >>> envs = SequenceBandit(envs)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([[1, 0, 2], [1, 1, 1]]))[1].tolist()
        [1.25, 3.0]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.

        Raises:
            ValueError: if the environment truncates episodes, or the order of wrappers makes no
                sense.
        """
        self.span = whole_response(env)
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.tokens_per_action = self.span.size
        space = macro_space(env.single_action_space, self.span.size, "SequenceBandit")
        self.single_action_space = space
        self.action_space = batch_space(space, env.num_envs)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Write a whole response in every row.

        Returns:
            Observations, rewards [N], terminated [N], truncated [N], info.

        Raises:
            ValueError: if an action is not in the action space; no row has changed then.
        """
        check_steps(token_mdp(self.env))
        return take_rows(self.env, actions, self.span.size, self.span.are_over)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as one decision each."""
        return rollout.replace(decision=self.span.decisions(rollout, token_mdp(self.env)))


def whole_response(env: Any) -> Span:
    """Return the span of an action that is a whole response.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if it truncates episodes, or the order of wrappers makes no sense.
    """
    mdp = check_order(env, "SequenceBandit", GRANULARITY)
    if mdp.options.length_limit == "bootstrap":
        raise ValueError(
            'SequenceBandit has no next state to bootstrap from, got length_limit="bootstrap"; '
            'use "score" or "penalize", or MacroAction'
        )
    return Span(size=mdp.max_new_tokens, crosses_turns=True)


def check_steps(mdp: TokenMDP) -> None:
    """Refuse to step where an action would have to be chosen before it is known what to answer.

    Raises:
        ValueError: in a conversation.
    """
    if mdp.dialogue is not None:
        raise ValueError(
            "SequenceBandit cannot be stepped in a conversation: the agent's later turns answer "
            'what the environment says meanwhile; use MacroAction(boundary="turn"), or let a '
            "Policy's episodes be decoded, where a conversation is one decision"
        )
