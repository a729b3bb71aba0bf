"""One step is one whole response."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from wrappers.decisions import decisions_of_size
from wrappers.macro_space import macro_space
from wrappers.macro_step import plan_row, take
from wrappers.order import check_one_granularity, check_undiscounted, token_mdp


class SequenceBandit(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Take a whole response as the action; every step terminates.

    The action is T token ids; those after the first EOS are ignored. The reward is the sum of what
    the tokens are paid, each reward term and ``ref_logprob`` likewise. Under
    ``kl_penalty="sampled"`` without a policy the action is ``{"tokens": [T], "logprobs": [T]}``.

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
        mdp = bandit_mdp(env)
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.tokens_per_action = mdp.max_new_tokens
        self.action_space = macro_space(env.action_space, mdp.max_new_tokens, "SequenceBandit")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Write a whole response.

        Raises:
            ValueError: if the action is not in the action space; nothing has changed then.
        """
        mdp = token_mdp(self.env, "SequenceBandit")
        plan = plan_row(action, self.env, mdp, self.tokens_per_action)
        tokens = (plan.row_action(0, step) for step in range(self.tokens_per_action))
        observation, reward, _, _, info = take(self.env, tokens, lambda: False)
        return observation, reward, True, False, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as one decision each."""
        return rollout.replace(decision=decisions_of_size(rollout, self.tokens_per_action))


def bandit_mdp(env: Any) -> TokenMDP:
    """Return the MDP that a bandit may be made of.

    Raises:
        TypeError: if the environment is not an ``RLHF-v0``.
        ValueError: if it truncates episodes, or its steps are not single tokens, or are paid for
            a discount.
    """
    mdp = token_mdp(env, "SequenceBandit")
    check_one_granularity(env, "SequenceBandit")
    check_undiscounted(env, "SequenceBandit")
    if mdp.options.length_limit == "bootstrap":
        raise ValueError(
            'SequenceBandit has no next state to bootstrap from, got length_limit="bootstrap"; '
            'use "score" or "penalize", or MacroAction'
        )
    return mdp
