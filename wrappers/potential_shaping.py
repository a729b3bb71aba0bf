"""Potential-based shaping."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.checks import check_number
from wrappers.reward_terms.density import Density, ScoredPrefixes
from wrappers.reward_terms.density_wrapper import DensityWrapper, VectorDensityWrapper
from wrappers.reward_terms.prefix_scores import PrefixScorer


class PotentialShaping(DensityWrapper, RecordConstructorArgs):
    """Keep the score and add the term "shaping": gamma · Phi(s') − Phi(s) per decision.

    Phi is the prefix score, and 0 once the episode has terminated, so the optimal policy of an
    agent that discounts by the same gamma is unchanged and every return is lower by Phi of the
    prompt (Ng, Harada and Russell, 1999). A truncated end is not a terminal state: Phi(s_T) stays
    there, and the agent's bootstrapped value of s_T, which is lower by Phi(s_T), cancels it.

    Put it outside of `wrappers.MacroAction` and `wrappers.SequenceBandit`: the potential is then
    read where their actions begin and end. Inside is the same at gamma = 1 and refused otherwise.

    ``env.shaping_gamma`` is gamma: an agent with another discount can find it by walking the stack
    of wrappers, and warn that the optimum has moved.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import PotentialShaping
        >>> env = PotentialShaping(gym.make("RLHF-v0", task="toy15", kl_coef=0.0), gamma=1.0)
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["shaping"] for token in (1, 2, 0)]
        [1.0, -0.5, -0.5]
    """

    def __init__(
        self, env: gym.Env[Any, Any], gamma: float, potential: PrefixScorer | None = None
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` of any time granularity.
            gamma: the agent's discount per decision, in [0, 1].
            potential: ``f(prompts, responses) -> list of [len + 1]``, Phi after 0, 1, ... tokens;
                the reward's ``prefix_scores`` unless given.

        Raises:
            TypeError: if ``potential`` cannot be called.
            ValueError: if gamma is out of range, no potential is given and the reward cannot
                score prefixes, or the order of wrappers makes no sense.
        """
        density = potential_shaping(gamma)
        RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, gamma=gamma, potential=potential
        )
        super().__init__(env, density, potential)
        self.shaping_gamma = density.gamma


class VectorPotentialShaping(VectorDensityWrapper, RecordConstructorArgs):
    """Vector version of `PotentialShaping`: the term "shaping" of each of N rows.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import PotentialShaping
        >>> envs = PotentialShaping(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"), gamma=1.0)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([1, 2]))[4]["reward_terms"]["shaping"].tolist()
        [1.0, -0.5]
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], gamma: float, potential: PrefixScorer | None = None
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` of any time granularity.
            gamma: the agent's discount per decision, in [0, 1].
            potential: ``f(prompts, responses) -> list of [len + 1]``, Phi after 0, 1, ... tokens;
                the reward's ``prefix_scores`` unless given.

        Raises:
            TypeError: if ``potential`` cannot be called.
            ValueError: if gamma is out of range, no potential is given and the reward cannot
                score prefixes, or the order of wrappers makes no sense.
        """
        density = potential_shaping(gamma)
        RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, gamma=gamma, potential=potential
        )
        super().__init__(env, density, potential)
        self.shaping_gamma = density.gamma


def potential_shaping(gamma: float) -> Density:
    """Return the density that adds the discounted rise of the potential.

    Raises:
        ValueError: if gamma is not in [0, 1].
    """
    check_number("gamma", gamma, minimum=0.0, maximum=1.0)
    return Density(
        name="shaping",
        rewards=partial(potential_differences, gamma=gamma),
        gamma=float(gamma),
        per_action=True,
    )


def potential_differences(scored: ScoredPrefixes, gamma: float) -> Tensor:
    """Return gamma · Phi(s') − Phi(s) at the last token of each action, else 0, [B, T].

    s is the state in which the action was chosen and s' the one it led to; Phi(terminal) = 0.
    """
    before = scored.phi.gather(1, scored.starts)
    after = torch.where(scored.is_end, 0.0, scored.phi[:, 1:])
    return torch.where(scored.is_last, gamma * after - before, 0.0)
