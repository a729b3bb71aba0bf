"""The score in parts at the ends of turns, from the task's ``step_scores``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from wrappers.every_k import score_differences
from wrappers.potential_shaping import potential_shaping
from wrappers.prefix_reward import raw_prefix_scores
from wrappers.reward_terms.density import Density, ScoredPrefixes
from wrappers.reward_terms.density_wrapper import DensityWrapper, VectorDensityWrapper
from wrappers.reward_terms.step_scores import TurnScores
from wrappers.stack.order import wrapper_name


class _TurnEndReward(DensityWrapper, RecordConstructorArgs):
    """Sets the score by a density of the step scores, paid at the ends of turns alone."""

    _rewards: ClassVar[Callable[[ScoredPrefixes], Tensor]]

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.

        Raises:
            ValueError: if the task has no ``step_scores``, or the order of wrappers makes no sense.
        """
        RecordConstructorArgs.__init__(self)
        scores = TurnScores.of(env, wrapper_name(self))
        super().__init__(env, _at_turn_ends(type(self)._rewards, scores), states=scores)


class _VectorTurnEndReward(VectorDensityWrapper, RecordConstructorArgs):
    """Vector version of `_TurnEndReward`."""

    _rewards: ClassVar[Callable[[ScoredPrefixes], Tensor]]

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.

        Raises:
            ValueError: if the task has no ``step_scores``, or the order of wrappers makes no sense.
        """
        RecordConstructorArgs.__init__(self)
        scores = TurnScores.of(env, wrapper_name(self))
        super().__init__(env, _at_turn_ends(type(self)._rewards, scores), states=scores)


def _at_turn_ends(rewards: Callable[[ScoredPrefixes], Tensor], scores: TurnScores) -> Density:
    end_id = scores.turn_end_id
    return Density(name="score", rewards=rewards, turn_end_id=end_id, at_turn_ends=True)


class ProcessReward(_TurnEndReward):
    """Give the score in parts: at the end of every turn, and of the episode, the rise since then.

    A turn is worth its step score less that of the turn before; the start counts as 0, so the parts
    add up to the score. The last part is the environment's own reward for the whole response (a
    penalty for a missing EOS included) minus the earlier parts. An episode that is truncated by
    ``length_limit="bootstrap"`` has no last part: the value of its last state takes its place.

    Example:
        >>> import dataclasses, gymnasium as gym, torch, rlhf_env
        >>> from wrappers import ProcessReward
        >>> toy15 = rlhf_env.load_task("toy15")
        >>> def ones(prompts, histories):
        ...     return torch.tensor([float((ids == 1).sum()) for ids in histories])
        >>> task = dataclasses.replace(toy15, end_of_turn_id=2, step_scores=ones)
        >>> env = ProcessReward(gym.make("RLHF-v0", task=task, kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> [float(env.step(token)[1]) for token in (1, 2, 0)]
        [0.0, 1.0, -0.25]
    """

    _rewards = staticmethod(partial(score_differences, k=1))


class VectorProcessReward(_VectorTurnEndReward):
    """Vector version of `ProcessReward`: the turns of all N rows are scored in one call.

    Example:
        >>> import dataclasses, gymnasium as gym, numpy as np, torch, rlhf_env
        >>> toy15 = rlhf_env.load_task("toy15")
        >>> def ones(prompts, histories):
        ...     return torch.tensor([float((ids == 1).sum()) for ids in histories])
        >>> task = dataclasses.replace(toy15, end_of_turn_id=2, step_scores=ones)
        >>> from wrappers.vector import ProcessReward
        >>> env = ProcessReward(gym.make_vec("RLHF-v0", num_envs=2, task=task, kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> [env.step(np.array(tokens))[1].tolist() for tokens in ([1, 1], [2, 1], [0, 2])]
        [[0.0, 0.0], [1.0, 0.0], [-0.25, 1.5]]
    """

    _rewards = staticmethod(partial(score_differences, k=1))


class RawProcessReward(_TurnEndReward):
    """Give the step score itself at the end of every turn, and the score at the end.

    This changes what is optimal: what is good after the first turn is rewarded again after each
    later one, so long conversations win. It is the control that shows what `ProcessReward` avoids.

    Example:
        >>> import dataclasses, gymnasium as gym, torch, rlhf_env
        >>> toy15 = rlhf_env.load_task("toy15")
        >>> def ones(prompts, histories):
        ...     return torch.tensor([float((ids == 1).sum()) for ids in histories])
        >>> task = dataclasses.replace(toy15, end_of_turn_id=2, step_scores=ones)
        >>> from wrappers import RawProcessReward
        >>> env = RawProcessReward(gym.make("RLHF-v0", task=task, kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> [float(env.step(token)[1]) for token in (1, 2, 0)]
        [0.0, 1.0, 0.75]
    """

    _rewards = staticmethod(raw_prefix_scores)


class VectorRawProcessReward(_VectorTurnEndReward):
    """Vector version of `RawProcessReward`.

    Example:
        >>> import dataclasses, gymnasium as gym, numpy as np, torch, rlhf_env
        >>> toy15 = rlhf_env.load_task("toy15")
        >>> def ones(prompts, histories):
        ...     return torch.tensor([float((ids == 1).sum()) for ids in histories])
        >>> task = dataclasses.replace(toy15, end_of_turn_id=2, step_scores=ones)
        >>> from wrappers.vector import RawProcessReward
        >>> env = RawProcessReward(gym.make_vec("RLHF-v0", num_envs=2, task=task, kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> [env.step(np.array(tokens))[1].tolist() for tokens in ([1, 1], [2, 1], [0, 2])]
        [[0.0, 0.0], [1.0, 0.0], [0.75, 1.5]]
    """

    _rewards = staticmethod(raw_prefix_scores)


class ProcessPotential(DensityWrapper, RecordConstructorArgs):
    """Keep the score and add the term "shaping": gamma · Phi(s') − Phi(s) per decision.

    `wrappers.PotentialShaping` whose Phi is the step score of the latest ended turn, 0 before the
    first one has ended and once the episode has terminated. At gamma = 1, with a discount per turn,
    or where each turn is one decision, all of it is paid at the ends of turns.

    Example:
        >>> import dataclasses, gymnasium as gym, torch, rlhf_env
        >>> toy15 = rlhf_env.load_task("toy15")
        >>> def ones(prompts, histories):
        ...     return torch.tensor([float((ids == 1).sum()) for ids in histories])
        >>> task = dataclasses.replace(toy15, end_of_turn_id=2, step_scores=ones)
        >>> from wrappers import ProcessPotential
        >>> env = ProcessPotential(gym.make("RLHF-v0", task=task, kl_coef=0.0), gamma=0.5)
        >>> _ = env.reset(seed=0)
        >>> [env.step(token)[4]["reward_terms"]["shaping"] for token in (1, 2, 0)]
        [0.0, 0.5, -1.0]
    """

    def __init__(
        self, env: gym.Env[Any, Any], gamma: float, discount_unit: str = "decision"
    ) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` of any time granularity.
            gamma: the agent's discount, in [0, 1].
            discount_unit: what it is per, as of the agent: "decision" or "turn".

        Raises:
            ValueError: if gamma is out of range, the task has no ``step_scores``, or the order of
                wrappers makes no sense.
        """
        scores = TurnScores.of(env, wrapper_name(self))
        density = potential_shaping(env, gamma, discount_unit)
        RecordConstructorArgs.__init__(self, gamma=gamma, discount_unit=discount_unit)
        super().__init__(env, density, states=scores)
        self.shaping_gamma, self.shaping_unit = density.gamma, discount_unit


class VectorProcessPotential(VectorDensityWrapper, RecordConstructorArgs):
    """Vector version of `ProcessPotential`: the term "shaping" of each of N rows.

    Example:
        >>> import dataclasses, gymnasium as gym, numpy as np, torch, rlhf_env
        >>> toy15 = rlhf_env.load_task("toy15")
        >>> def ones(prompts, histories):
        ...     return torch.tensor([float((ids == 1).sum()) for ids in histories])
        >>> task = dataclasses.replace(toy15, end_of_turn_id=2, step_scores=ones)
        >>> from wrappers.vector import ProcessPotential
        >>> env = gym.make_vec("RLHF-v0", num_envs=2, task=task, kl_coef=0.0)
        >>> env = ProcessPotential(env, gamma=1.0)
        >>> _ = env.reset(seed=0)
        >>> [env.step(np.array(tokens))[1].tolist() for tokens in ([1, 1], [2, 1], [0, 2])]
        [[0.0, 0.0], [1.0, 0.0], [-0.25, 1.5]]
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], gamma: float, discount_unit: str = "decision"
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` of any time granularity.
            gamma: the agent's discount, in [0, 1].
            discount_unit: what it is per, as of the agent: "decision" or "turn".

        Raises:
            ValueError: if gamma is out of range, the task has no ``step_scores``, or the order of
                wrappers makes no sense.
        """
        scores = TurnScores.of(env, wrapper_name(self))
        density = potential_shaping(env, gamma, discount_unit)
        RecordConstructorArgs.__init__(self, gamma=gamma, discount_unit=discount_unit)
        super().__init__(env, density, states=scores)
        self.shaping_gamma, self.shaping_unit = density.gamma, discount_unit
