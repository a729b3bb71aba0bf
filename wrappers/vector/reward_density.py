"""What the density wrappers of vector environments have in common."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.vector import VectorEnv, VectorWrapper
from torch import Tensor

from rlhf_env.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from wrappers.density import Density, Responses, newest_terms, redistributed
from wrappers.order import token_mdp
from wrappers.prefix_scores import PrefixScorer
from wrappers.reward_density import density_scorer
from wrappers.vector.row_infos import join_info, paid_info, split_info


class RewardDensity(VectorWrapper[Any, Any, Any, Any, Any]):
    """Rows whose "score" or "shaping" term is paid by a density.

    Nothing is remembered between steps, so resets of some rows need no care.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], density: Density, potential: PrefixScorer | None = None
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            density: what is paid when.
            potential: scores prefixes in place of the task's reward.

        Raises:
            ValueError: if the reward cannot score prefixes, or the order makes no sense.
        """
        self.density = density
        self.score_prefixes = density_scorer(env, type(self).__name__, density, potential)
        super().__init__(env)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append a token in every row whose episode is open, and pay by the density."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        rows = split_info(info, self.num_envs)
        paid = {row: told for row in range(self.num_envs) if (told := paid_info(rows[row]))}
        is_tensor = isinstance(rewards, Tensor)
        if not paid:
            return observations, rewards, terminated, truncated, info
        mdp = token_mdp(self.env, type(self).__name__)
        scores = [told["reward_terms"]["score"] for told in paid.values()]
        written = [_written(mdp, row, rows[row]) for row in paid]
        terms = newest_terms(
            self.density,
            self.score_prefixes,
            Responses(
                prompts=[prompt for prompt, _ in written],
                responses=[response for _, response in written],
                terminated=torch.as_tensor(terminated).cpu()[list(paid)],
                paid=torch.tensor(scores, dtype=torch.float64),
            ),
        )
        for (row, told), term in zip(paid.items(), terms.tolist(), strict=True):
            told["reward_terms"][self.density.term] = term
            rewards[row] = sum(told["reward_terms"].values())
        return observations, rewards, terminated, truncated, join_info(rows, self, is_tensor)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes paid by the density, as stepping would pay them.

        Args:
            rollout: episodes as the wrapped environment pays them.
        """
        return redistributed(self.density, self.score_prefixes, rollout)


def _written(mdp: TokenMDP, row: int, info: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the prompt and the response that a row has just added a token to.

    A row that was reset at once no longer holds them; its last observation does.
    """
    if "final_info" not in info:
        return mdp.tokens[row, : mdp.prompt_lengths[row]], mdp.response(row)
    last = info["final_obs"]
    if not isinstance(last, dict) or "input_ids" not in last:
        raise ValueError(
            "a density wrapper reads the ids of a response from its last observation under "
            'SAME_STEP, got one without "input_ids"; put wrappers that change observations outside'
        )
    end = int(last["attention_mask"].sum())
    start = end - int(info["final_info"]["response_length"])
    ids = torch.as_tensor(last["input_ids"])
    return ids[:start], ids[start:end]
