"""The score in units in which the reference has mean 0 and spread 1."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from rlhf_env.checks import check_count, check_number
from rlhf_env.rollout import Rollout
from wrappers.order import Paying, check_no_foreign_reward, inner_wrappers, token_mdp
from wrappers.score_scale import Scaled, ScoreScale, measured_scale


class NormalizeScore(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Pay (score − mean) / sd, with the mean and spread of the reference's own responses.

    ``info["score"]`` and the term "score" are mapped, and so are the prefix scores that densities
    outside pay; a density of the score inside is refused. A penalty for a missing EOS keeps its
    size: it then counts in the new units. ``env.mean`` and ``env.sd`` are the constants.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import EveryK, NormalizeScore
        >>> env = NormalizeScore(gym.make("RLHF-v0", task="toy15"), mean=0.5, sd=2.0)
        >>> _ = env.reset(seed=0)
        >>> env.step(0)[4]["score"]
        -0.125
        >>> env = NormalizeScore(gym.make("RLHF-v0", task="toy15"), episodes=4096)
        >>> round(env.mean, 2), round(env.sd, 2)
        (0.04, 0.92)
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        mean: float | None = None,
        sd: float | None = None,
        episodes: int = 256,
        seed: int = 0,
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` without a density.
            mean: the score that becomes 0; measured unless given.
            sd: the distance from it that becomes 1, > 0; measured unless given.
            episodes: how many responses of the reference to measure on, >= 2.
            seed: of their prompts and tokens.

        Raises:
            ValueError: if only one of ``mean`` and ``sd`` is given, a number is out of range, the
                reference's scores do not differ, or the order of wrappers makes no sense.
        """
        self.scale = score_scale(env, mean, sd, episodes, seed)
        RecordConstructorArgs.__init__(self, mean=mean, sd=sd, episodes=episodes, seed=seed)
        gym.Wrapper.__init__(self, env)

    @property
    def mean(self) -> float:
        """The score that becomes 0."""
        return self.scale.mean

    @property
    def sd(self) -> float:
        """The distance from ``mean`` that becomes 1."""
        return self.scale.sd

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and pay the score in the new units."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not terminated:
            return observation, float(reward), terminated, truncated, info
        info = normalized_info(info, self.scale)
        return observation, sum(info["reward_terms"].values()), terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes paid in the new units, as stepping would pay them."""
        return normalized_rollout(rollout, self.scale)


def score_scale(
    env: Any, mean: float | None, sd: float | None, episodes: int, seed: int
) -> ScoreScale:
    """Return the given scale, or the one that makes the reference's scores standard.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if only one constant is given, a number is out of range, the reference's
            scores do not differ, or the order of wrappers makes no sense.
    """
    mdp = token_mdp(env, "NormalizeScore")
    check_no_foreign_reward(env, "NormalizeScore")
    _check_order(env)
    check_count("episodes", episodes, minimum=2)
    if (mean is None) != (sd is None):
        raise ValueError(f"mean and sd must be given together, got mean={mean!r} and sd={sd!r}")
    if mean is None or sd is None:
        return measured_scale(mdp, episodes, seed)
    check_number("mean", mean)
    check_number("sd", sd, minimum=0.0)
    if sd == 0:
        raise ValueError("sd must be positive, got 0; leave mean and sd out to measure them")
    return ScoreScale(mean=float(mean), sd=float(sd))


def normalized_info(info: dict[str, Any], scale: ScoreScale) -> dict[str, Any]:
    """Return the info of a step that terminated an episode, its score mapped."""
    score, terms = info["score"], info["reward_terms"]
    mapped = scale.of(score)
    paid = terms["score"] - score + mapped
    return {**info, "score": mapped, "reward_terms": {**terms, "score": paid}}


def normalized_rollout(rollout: Rollout, scale: ScoreScale) -> Rollout:
    """Return finished episodes, the scores of those that terminated mapped."""
    mapped = rollout.score.double()
    mapped = mapped.where(~rollout.terminated, scale.of(mapped))
    change = (mapped - rollout.score)[:, None] * rollout.last_action
    paid = rollout.reward_terms["score"] + change
    return rollout.with_term("score", paid).replace(score=mapped.to(rollout.score))


def _check_order(env: Any) -> None:
    """Raise ValueError if the score is spread or mapped inside."""
    for inner in inner_wrappers(env):
        if isinstance(inner, Scaled):
            raise ValueError("NormalizeScore stands inside already; keep one of them")
        if isinstance(inner, Paying) and inner.pay.term == "score":
            other = type(inner).__name__
            raise ValueError(
                f"NormalizeScore maps the whole score, got one that {other} has spread over the "
                f"steps; put NormalizeScore inside {other}: {other}(NormalizeScore(env, ...), ...)"
            )
