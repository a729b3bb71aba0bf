"""Which wrappers may stand inside which; every refusal names the order that works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
from gymnasium.vector import VectorRewardWrapper, VectorWrapper
from gymnasium.wrappers import NormalizeReward
from gymnasium.wrappers.vector import NormalizeReward as VectorNormalizeReward

from rlhf_env.env import RLHFEnv
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import RolloutTransform
from rlhf_env.vector_env import RLHFVectorEnv
from wrappers.pay import Pay

_REWARD_CHANGERS = (gym.RewardWrapper, NormalizeReward, VectorRewardWrapper, VectorNormalizeReward)


@runtime_checkable
class Granular(Protocol):
    """A wrapper whose actions are several tokens."""

    tokens_per_action: int


@runtime_checkable
class Paying(Protocol):
    """A wrapper that pays a reward term."""

    pay: Pay


def inner_wrappers(env: Any) -> Iterator[Any]:
    """Yield ``env`` and what it wraps, outermost first, without the environment itself."""
    while isinstance(env, gym.Wrapper | VectorWrapper):
        yield env
        env = env.env


def token_mdp(env: Any, name: str) -> TokenMDP:
    """Return the MDP that a wrapper named ``name`` stands on.

    Raises:
        TypeError: if the environment is not an ``RLHF-v0``.
    """
    if not isinstance(env.unwrapped, RLHFEnv | RLHFVectorEnv):
        raise TypeError(f"{name} wraps an RLHF-v0 environment, got {env.unwrapped}")
    return env.unwrapped.mdp


def check_token_steps(env: Any, name: str) -> None:
    """Raise ValueError if a step of ``env`` is more than one token."""
    for inner in inner_wrappers(env):
        if isinstance(inner, Granular):
            other = type(inner).__name__
            raise ValueError(
                f"{name} works on single tokens, got actions of {other}; "
                f"put {name} inside {other}: {other}({name}(env, ...), ...)"
            )


def has_granularity(env: Any) -> bool:
    """Return whether a step of ``env`` may be more than one token."""
    return any(isinstance(inner, Granular) for inner in inner_wrappers(env))


def check_one_granularity(env: Any, name: str) -> None:
    """Raise ValueError if ``env`` has a time granularity already."""
    for inner in inner_wrappers(env):
        if isinstance(inner, Granular):
            raise ValueError(
                f"{name} sets the time granularity, but {type(inner).__name__} inside it has done "
                "so; keep one of them"
            )


def check_one_payer(env: Any, name: str, term: str) -> None:
    """Raise ValueError if a wrapper inside pays a reward term already."""
    for inner in inner_wrappers(env):
        if isinstance(inner, Paying) and inner.pay.term == term:
            raise ValueError(
                f"{name} pays the reward term {term!r}, but {type(inner).__name__} inside it does "
                "so already; keep one of them"
            )


def check_no_foreign_reward(env: Any, name: str) -> None:
    """Raise ValueError if a wrapper inside changes the reward and not the reward terms."""
    for inner in inner_wrappers(env):
        if isinstance(inner, _REWARD_CHANGERS) and not isinstance(inner, RolloutTransform):
            other = type(inner).__name__
            raise ValueError(
                f"{name} pays the sum of the reward terms, so the change that {other} inside it "
                f"makes would be lost; put {other} outside: {other}({name}(env, ...), ...)"
            )


def check_undiscounted(env: Any, name: str) -> None:
    """Raise ValueError if a wrapper inside pays tokens for an agent that discounts them."""
    for inner in inner_wrappers(env):
        if isinstance(inner, Paying) and inner.pay.gamma != 1.0:
            other, gamma = type(inner).__name__, inner.pay.gamma
            raise ValueError(
                f"{name} adds up what its tokens are paid without a discount, so {other} with "
                f"gamma={gamma:g} inside it would move the optimum; put {other} outside {name}: "
                f"{other}({name}(env, ...), gamma={gamma:g})"
            )


def check_payable(env: Any, name: str, term: str) -> None:
    """Refuse an environment around which a wrapper cannot pay a reward term per token.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if its steps are not single tokens, the term is paid by a wrapper inside, or
            the change of a foreign reward wrapper would be lost.
    """
    token_mdp(env, name)
    check_token_steps(env, name)
    check_payable_actions(env, name, term)


def check_payable_actions(env: Any, name: str, term: str) -> None:
    """Refuse an environment around which a wrapper cannot pay a reward term per action.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if the term is paid by a wrapper inside, or the change of a foreign reward
            wrapper would be lost.
    """
    token_mdp(env, name)
    check_no_foreign_reward(env, name)
    check_one_payer(env, name, term)
