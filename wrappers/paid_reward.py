"""What the wrappers that pay a reward term of single environments have in common."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch

from rlhf_env.rollout import Rollout
from wrappers.order import token_mdp
from wrappers.pay import Pay, Responses


class PaidReward(gym.Wrapper[Any, Any, Any, Any]):
    """An environment one of whose reward terms is paid by the wrapper.

    Nothing is remembered between steps: what one is paid follows from the response before it and
    after it.
    """

    def __init__(self, env: gym.Env[Any, Any], pay: Pay) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0``, as `order.check_payable` wants it.
            pay: which term, and how.
        """
        self.pay = pay
        super().__init__(env)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and pay for it."""
        mdp = token_mdp(self.env, type(self).__name__)
        start = int(mdp.response_lengths[0])
        observation, _, terminated, truncated, info = self.env.step(action)
        terms, response = info["reward_terms"], mdp.response(0)
        written = Responses(
            prompts=[mdp.tokens[0, : mdp.prompt_lengths[0]]],
            responses=[response],
            starts=[torch.full((len(response),), start)],
            terminated=torch.tensor([terminated]),
            paid=torch.tensor([terms["score"]], dtype=torch.float64),
        )
        paid = float(self.pay.newest(written)[0])
        info = {**info, "reward_terms": {**terms, self.pay.term: paid}}
        return observation, sum(info["reward_terms"].values()), terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with the term, as stepping would pay it.

        Args:
            rollout: episodes as the wrapped environment pays them.
        """
        return self.pay.rollout(rollout)
