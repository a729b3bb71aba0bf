"""What the density wrappers of single environments have in common."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym

from wrappers.density import Density, newest_terms, redistributed
from wrappers.order import check_payable, inner_wrappers, token_mdp
from wrappers.paid_reward import PaidReward
from wrappers.pay import Pay
from wrappers.prefix_scores import PrefixScorer, prefix_scorer
from wrappers.score_scale import Scaled, scaled_prefix_scores


class RewardDensity(PaidReward):
    """An environment whose "score" or "shaping" term is paid by a density."""

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
        super().__init__(env, density_pay(env, type(self).__name__, density, potential))


def density_pay(env: Any, name: str, density: Density, potential: PrefixScorer | None) -> Pay:
    """Return how a density wrapper that may stand around ``env`` pays.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``, or ``potential`` cannot be called.
        ValueError: if the reward cannot score prefixes, or the order makes no sense.
    """
    check_payable(env, name, density.term)
    score_prefixes = _scorer(env, name, potential)
    return Pay(
        term=density.term,
        newest=partial(newest_terms, density, score_prefixes),
        rollout=partial(redistributed, density, score_prefixes),
    )


def _scorer(env: Any, name: str, potential: PrefixScorer | None) -> PrefixScorer:
    """Return what scores prefixes, in the units in which the environment pays the score."""
    if potential is None:
        scorer = prefix_scorer(token_mdp(env, name).task.reward, name)
        scales = [inner.scale for inner in inner_wrappers(env) if isinstance(inner, Scaled)]
        return partial(scaled_prefix_scores, scorer, scales[0]) if scales else scorer
    if not callable(potential):
        raise TypeError(
            "potential must be a function (prompts, responses) -> list of [len + 1] scores, "
            f"got {type(potential).__name__}"
        )
    return potential
