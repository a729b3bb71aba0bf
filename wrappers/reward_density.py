"""What the density wrappers of single environments have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym

from rlhf_env.rollout import Rollout
from wrappers.decisions import decisions_of_size
from wrappers.density import Density, newest_terms, redistributed
from wrappers.order import (
    check_payable,
    check_payable_actions,
    has_granularity,
    inner_wrappers,
    token_mdp,
)
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
            env: an ``RLHF-v0`` whose steps are single tokens, or any if the density pays actions.
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
    check = check_payable_actions if density.pays_actions else check_payable
    check(env, name, density.term)
    score_prefixes = _scorer(env, name, potential)
    pay_rollout = partial(redistributed, density, score_prefixes)
    return Pay(
        term=density.term,
        newest=partial(newest_terms, density, score_prefixes),
        rollout=pay_rollout if has_granularity(env) else partial(_by_token, pay_rollout),
        gamma=density.gamma,
    )


def _by_token(pay_rollout: Callable[[Rollout], Rollout], rollout: Rollout) -> Rollout:
    """Pay every token as a decision, whatever the rollout's own are; they stay what they are."""
    tokens = rollout.replace(decision=decisions_of_size(rollout, 1))
    return pay_rollout(tokens).replace(decision=rollout.decision)


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
