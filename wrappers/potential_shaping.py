"""Potential-based shaping."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.checks import check_choice, check_number
from rlhf_env.defaults import DISCOUNT_UNITS
from wrappers.reward_terms.density import Density, ScoredPrefixes
from wrappers.reward_terms.density_wrapper import DensityWrapper, VectorDensityWrapper
from wrappers.reward_terms.prefix_scores import PrefixScorer
from wrappers.stack.order import VIEW, check_order


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
        self,
        env: gym.Env[Any, Any],
        gamma: float,
        potential: PrefixScorer | None = None,
        discount_unit: str = "decision",
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` of any time granularity.
            gamma: the agent's discount, in [0, 1].
            potential: ``f(prompts, responses) -> list of [len + 1]``, Phi after 0, 1, ... tokens;
                the reward's ``prefix_scores`` unless given.
            discount_unit: what ``gamma`` is per, as of the agent: "decision" or "turn".

        Raises:
            TypeError: if ``potential`` cannot be called.
            ValueError: if gamma is out of range, no potential is given and the reward cannot
                score prefixes, or the order of wrappers makes no sense.
        """
        density = potential_shaping(env, gamma, discount_unit)
        RecordConstructorArgs.__init__(
            self,
            _disable_deepcopy=True,
            gamma=gamma,
            potential=potential,
            discount_unit=discount_unit,
        )
        super().__init__(env, density, potential)
        self.shaping_gamma, self.shaping_unit = density.gamma, discount_unit


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
        self,
        env: VectorEnv[Any, Any, Any],
        gamma: float,
        potential: PrefixScorer | None = None,
        discount_unit: str = "decision",
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` of any time granularity.
            gamma: the agent's discount, in [0, 1].
            potential: ``f(prompts, responses) -> list of [len + 1]``, Phi after 0, 1, ... tokens;
                the reward's ``prefix_scores`` unless given.
            discount_unit: what ``gamma`` is per, as of the agent: "decision" or "turn".

        Raises:
            TypeError: if ``potential`` cannot be called.
            ValueError: if gamma is out of range, no potential is given and the reward cannot
                score prefixes, or the order of wrappers makes no sense.
        """
        density = potential_shaping(env, gamma, discount_unit)
        RecordConstructorArgs.__init__(
            self,
            _disable_deepcopy=True,
            gamma=gamma,
            potential=potential,
            discount_unit=discount_unit,
        )
        super().__init__(env, density, potential)
        self.shaping_gamma, self.shaping_unit = density.gamma, discount_unit


def potential_shaping(env: Any, gamma: float, unit: str) -> Density:
    """Return the density that adds the discounted rise of the potential.

    Args:
        env: an ``RLHF-v0``, whose task tells which token ends a turn.
        gamma: the discount.
        unit: what it is per, one of `rlhf_env.defaults.DISCOUNT_UNITS`.

    Raises:
        ValueError: if gamma is not in [0, 1], or is per turn in a task without turns.
    """
    check_number("gamma", gamma, minimum=0.0, maximum=1.0)
    check_choice("discount_unit", unit, DISCOUNT_UNITS)
    task = check_order(env, "PotentialShaping", VIEW).task
    if unit == "turn" and not task.has_turns:
        raise ValueError(
            f'discount_unit="turn" needs a task with turns, got {task.name!r} without; give the '
            'Task end_of_turn_id or respond, or take discount_unit="decision"'
        )
    return Density(
        name="shaping",
        rewards=partial(potential_differences, gamma=gamma, unit=unit),
        gamma=float(gamma),
        per_action=True,
        turn_end_id=task.turn_end_id if unit == "turn" else None,
    )


def potential_differences(scored: ScoredPrefixes, gamma: float, unit: str = "decision") -> Tensor:
    """Return gamma · Phi(s') − Phi(s) at the last token of each action, else 0, [B, T].

    s is the state in which the action was chosen and s' the one it led to; Phi(terminal) = 0. Per
    turn, gamma counts the turns that the action ends.
    """
    before = scored.phi.gather(1, scored.starts)
    after = torch.where(scored.is_end, 0.0, scored.phi[:, 1:])
    discount: float | Tensor = gamma
    if unit == "turn":
        assert scored.turns is not None
        discount = gamma ** (scored.turns[:, 1:] - scored.turns.gather(1, scored.starts)).double()
    return torch.where(scored.is_last, discount * after - before, 0.0)
