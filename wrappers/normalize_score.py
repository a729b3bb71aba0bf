"""The score in units in which the reference has mean 0 and spread 1."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.checks import check_count, check_number
from rlhf_env.rollout import Rollout
from wrappers.reward_terms.score_scale import ScoreScale, measured_scale
from wrappers.stack.order import SCORE_UNITS, check_order
from wrappers.stack.rows import join_info, split_info, step_info
from wrappers.stack.vector_base import VectorBase


class NormalizeScore(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Map the score to (score − mean) / sd, by the reference's own mean and spread.

    ``info["score"]`` and the term "score" are mapped, and so are the prefix scores of densities
    outside; a density of the score inside is refused. A penalty for a missing EOS keeps its size:
    it then counts in the new units. ``env.mean`` and ``env.sd`` are the constants.

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
            episodes: the number of the reference's responses to measure on, >= 2.
            seed: for their prompts and tokens.

        Raises:
            ValueError: if only one of ``mean`` and ``sd`` is given, a number is out of range, the
                reference's scores are all equal, or the order of wrappers makes no sense.
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
        """Take a step; its score is in the new units."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not terminated:
            return observation, float(reward), terminated, truncated, info
        info = normalized_info(info, self.scale)
        return observation, sum(info["reward_terms"].values()), terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with scores in the new units, with the numbers of stepping."""
        return normalized_rollout(rollout, self.scale)


class VectorNormalizeScore(VectorBase, RecordConstructorArgs):
    """Vector version of `NormalizeScore`: the scores of all N rows are mapped alike.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import NormalizeScore
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15")
        >>> envs = NormalizeScore(envs, mean=0.5, sd=2.0)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([0, 0]))[4]["score"].tolist()
        [-0.125, -0.125]
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        mean: float | None = None,
        sd: float | None = None,
        episodes: int = 256,
        seed: int = 0,
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` without a density.
            mean: the score that becomes 0; measured unless given.
            sd: the distance from it that becomes 1, > 0; measured unless given.
            episodes: the number of the reference's responses to measure on, >= 2.
            seed: for their prompts and tokens.

        Raises:
            ValueError: if only one of ``mean`` and ``sd`` is given, a number is out of range, the
                reference's scores are all equal, or the order of wrappers makes no sense.
        """
        self.scale = score_scale(env, mean, sd, episodes, seed)
        RecordConstructorArgs.__init__(self, mean=mean, sd=sd, episodes=episodes, seed=seed)
        super().__init__(env)

    @property
    def mean(self) -> float:
        """The score that becomes 0."""
        return self.scale.mean

    @property
    def sd(self) -> float:
        """The distance from ``mean`` that becomes 1."""
        return self.scale.sd

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every row; scores are in the new units.

        Returns:
            Observations, rewards [N], terminated [N], truncated [N], info.
        """
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        if not terminated.any():
            return observations, rewards, terminated, truncated, info
        rows = split_info(info, self.num_envs)
        for row, is_over in enumerate(terminated.tolist()):
            own = step_info(rows[row])
            if not is_over or own is None:
                continue
            own.update(normalized_info(own, self.scale))
            rewards[row] = sum(own["reward_terms"].values())
        info = join_info(rows, tensors=isinstance(rewards, Tensor))
        return observations, rewards, terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with scores in the new units, with the numbers of stepping."""
        return normalized_rollout(rollout, self.scale)


def score_scale(
    env: Any, mean: float | None, sd: float | None, episodes: int, seed: int
) -> ScoreScale:
    """Return the given scale, or the one that standardizes the reference's scores.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if only one constant is given, a number is out of range, the reference's
            scores are all equal, or the order of wrappers makes no sense.
    """
    mdp = check_order(env, "NormalizeScore", SCORE_UNITS)
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
    term = terms["score"] - score + mapped
    return {**info, "score": mapped, "reward_terms": {**terms, "score": term}}


def normalized_rollout(rollout: Rollout, scale: ScoreScale) -> Rollout:
    """Return finished episodes, the scores of those that terminated mapped."""
    mapped = rollout.score.double()
    mapped = mapped.where(~rollout.terminated, scale.of(mapped))
    change = (mapped - rollout.score)[:, None] * rollout.last_action
    term = rollout.reward_terms["score"] + change
    return rollout.with_term("score", term).replace(score=mapped.to(rollout.score))
