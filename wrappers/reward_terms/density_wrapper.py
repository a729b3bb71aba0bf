"""The base classes of the wrappers that spread the score, or shaping, over the steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from rlhf_env.rollout import Rollout
from wrappers.macro.span import decisions_of_size
from wrappers.reward_terms.density import Density, last_step_terms, redistributed
from wrappers.reward_terms.prefix_scores import (
    PrefixScorer,
    StateScorer,
    prefix_scorer,
    prefix_state_scores,
)
from wrappers.reward_terms.reward_term import RewardTerm
from wrappers.reward_terms.reward_term_wrapper import RewardTermWrapper, VectorRewardTermWrapper
from wrappers.reward_terms.score_scale import scaled_prefix_scores
from wrappers.stack.order import (
    VIEW,
    HasScoreScale,
    check_order,
    has_granularity,
    inner_wrappers,
    wrapper_name,
)


class DensityWrapper(RewardTermWrapper):
    """Set the term "score" or "shaping" by a density, a function of the scores of all prefixes.

    Example:
        >>> import gymnasium as gym, rlhf_env, torch
        >>> from wrappers.reward_terms import Density, DensityWrapper
        >>> def halves(scored):
        ...     return torch.where(scored.is_end, scored.score_term, 0.5 * scored.phi[:, 1:])
        >>> env = gym.make("RLHF-v0", task="toy15")
        >>> env = DensityWrapper(env, Density(name="score", rewards=halves))
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["score"] for token in (1, 2, 0)]
        [0.5, 0.25, 0.75]
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        density: Density,
        potential: PrefixScorer | None = None,
        *,
        states: StateScorer | None = None,
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens, or any if ``density.per_action``.
            density: the reward of each step.
            potential: scores prefixes in place of the task's reward.
            states: scores states in place of both, and knows whose tokens are whose.

        Raises:
            TypeError: if ``env`` is another environment, or ``potential`` cannot be called.
            ValueError: if the reward cannot score prefixes, or the order of wrappers makes no
                sense.
        """
        super().__init__(env, _density_term(self, env, density, potential, states))


class VectorDensityWrapper(VectorRewardTermWrapper):
    """Vector version of `DensityWrapper`: prefixes of all N rows are scored in one call.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env, torch
        >>> from wrappers.reward_terms import Density, VectorDensityWrapper
        >>> def halves(scored):
        ...     return torch.where(scored.is_end, scored.score_term, 0.5 * scored.phi[:, 1:])
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15")
        >>> envs = VectorDensityWrapper(envs, Density(name="score", rewards=halves))
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([1, 2]))[4]["reward_terms"]["score"].tolist()
        [0.5, -0.25]
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        density: Density,
        potential: PrefixScorer | None = None,
        *,
        states: StateScorer | None = None,
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens, or any if
                ``density.per_action``.
            density: the reward of each step.
            potential: scores prefixes in place of the task's reward.
            states: scores states in place of both, and knows whose tokens are whose.

        Raises:
            TypeError: if ``env`` is another environment, or ``potential`` cannot be called.
            ValueError: if the reward cannot score prefixes, or the order of wrappers makes no
                sense.
        """
        super().__init__(env, _density_term(self, env, density, potential, states))


def _density_term(
    wrapper: Any,
    env: Any,
    density: Density,
    potential: PrefixScorer | None,
    states: StateScorer | None,
) -> RewardTerm:
    """Return the reward term of a density around ``env``."""
    if states is None:
        states = partial(prefix_state_scores, _scorer(env, wrapper_name(wrapper), potential))
    rollout_terms = partial(redistributed, density, states)
    return RewardTerm(
        name=density.name,
        last_step=partial(last_step_terms, density, states),
        rollout=rollout_terms if has_granularity(env) else partial(_by_token, rollout_terms),
        gamma=density.gamma,
        per_action=density.per_action,
    )


def _by_token(rollout_terms: Callable[[Rollout], Rollout], rollout: Rollout) -> Rollout:
    """Treat every token as a decision of its own, and keep the decisions of the rollout."""
    tokens = rollout.replace(decision=decisions_of_size(rollout, 1))
    return rollout_terms(tokens).replace(decision=rollout.decision)


def _scorer(env: Any, name: str, potential: PrefixScorer | None) -> PrefixScorer:
    """Return the function that scores prefixes, in the units of the environment's score term."""
    mdp = check_order(env, name, VIEW)
    if potential is None:
        scorer = prefix_scorer(mdp.task.reward, name)
        scales = [inner.scale for inner in inner_wrappers(env) if isinstance(inner, HasScoreScale)]
        return partial(scaled_prefix_scores, scorer, scales[0]) if scales else scorer
    if not callable(potential):
        raise TypeError(
            "potential must be a function (prompts, responses) -> list of [len + 1] scores, "
            f"got {type(potential).__name__}"
        )
    return potential
