"""What the density wrappers of single environments have in common."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch

from rlhf_env.rollout import Rollout
from wrappers.density import Density, Responses, newest_terms, redistributed
from wrappers.order import (
    check_no_foreign_reward,
    check_one_density,
    check_token_steps,
    token_mdp,
)
from wrappers.prefix_scores import PrefixScorer, prefix_scorer


class RewardDensity(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose "score" or "shaping" term is paid by a density.

    Nothing is remembered between steps: a step asks for the prefix scores of the response so far.
    """

    def __init__(
        self, env: gym.Env[Any, Any], density: Density, potential: PrefixScorer | None = None
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            density: what is paid when.
            potential: scores prefixes in place of the task's reward.

        Raises:
            ValueError: if the reward cannot score prefixes, or the order makes no sense.
        """
        self.density = density
        self.score_prefixes = density_scorer(env, type(self).__name__, density, potential)
        super().__init__(env)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append a token and pay by the density."""
        observation, _, terminated, truncated, info = self.env.step(action)
        mdp = token_mdp(self.env, type(self).__name__)
        terms = info["reward_terms"]
        written = Responses(
            prompts=[mdp.tokens[0, : mdp.prompt_lengths[0]]],
            responses=[mdp.response(0)],
            terminated=torch.tensor([terminated]),
            paid=torch.tensor([terms["score"]], dtype=torch.float64),
        )
        paid = newest_terms(self.density, self.score_prefixes, written)
        info = {**info, "reward_terms": {**terms, self.density.term: float(paid[0])}}
        return observation, sum(info["reward_terms"].values()), terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes paid by the density, as stepping would pay them.

        Args:
            rollout: episodes as the wrapped environment pays them.
        """
        return redistributed(self.density, self.score_prefixes, rollout)


def density_scorer(
    env: Any, name: str, density: Density, potential: PrefixScorer | None
) -> PrefixScorer:
    """Return what scores prefixes for a density wrapper that may stand around ``env``.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``, or ``potential`` cannot be called.
        ValueError: if the reward cannot score prefixes, or the order makes no sense.
    """
    mdp = token_mdp(env, name)
    check_token_steps(env, name)
    check_no_foreign_reward(env, name)
    check_one_density(env, name, density.term)
    if potential is None:
        return prefix_scorer(mdp.task.reward, name)
    if not callable(potential):
        raise TypeError(
            "potential must be a function (prompts, responses) -> list of [len + 1] scores, "
            f"got {type(potential).__name__}"
        )
    return potential
