"""What the wrappers that pay a reward term of vector environments have in common."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.vector import VectorEnv, VectorWrapper
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.order import token_mdp
from wrappers.pay import Pay, Responses
from wrappers.vector.row_infos import join_info, paid_info, split_info
from wrappers.vector.row_texts import written


class PaidReward(VectorWrapper[Any, Any, Any, Any, Any]):
    """Rows one of whose reward terms is paid by the wrapper.

    Nothing is remembered between steps, so resets of some rows need no care.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], pay: Pay) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")``, as `order.check_payable` wants it.
            pay: which term, and how.
        """
        self.pay = pay
        super().__init__(env)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every row whose episode is open, and pay for it."""
        mdp = token_mdp(self.env, type(self).__name__)
        starts = mdp.response_lengths.tolist()
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        rows = split_info(info, self.num_envs)
        paid = {row: told for row in range(self.num_envs) if (told := paid_info(rows[row]))}
        is_tensor = isinstance(rewards, Tensor)
        if not paid:
            return observations, rewards, terminated, truncated, info
        scores = [told["reward_terms"]["score"] for told in paid.values()]
        texts = [written(mdp, row, rows[row]) for row in paid]
        terms = self.pay.newest(
            Responses(
                prompts=[prompt for prompt, _ in texts],
                responses=[response for _, response in texts],
                starts=[
                    torch.full((len(response),), starts[row])
                    for row, (_, response) in zip(paid, texts, strict=True)
                ],
                terminated=torch.as_tensor(terminated).cpu()[list(paid)],
                paid=torch.tensor(scores, dtype=torch.float64),
            )
        )
        for (row, told), term in zip(paid.items(), terms.tolist(), strict=True):
            told["reward_terms"][self.pay.term] = term
            rewards[row] = sum(told["reward_terms"].values())
        return observations, rewards, terminated, truncated, join_info(rows, self, is_tensor)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with the term, as stepping would pay it.

        Args:
            rollout: episodes as the wrapped environment pays them.
        """
        return self.pay.rollout(rollout)
