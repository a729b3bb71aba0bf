"""Which wrappers may be inside which: one table, and every refusal names the order that works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
from gymnasium.vector import VectorRewardWrapper, VectorWrapper
from gymnasium.wrappers import NormalizeReward
from gymnasium.wrappers.vector import NormalizeReward as VectorNormalizeReward

from rlhf_env.env import RLHFEnv
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import RolloutTransform
from rlhf_env.vector_env import RLHFVectorEnv

_REWARD_CHANGERS = (gym.RewardWrapper, NormalizeReward, VectorRewardWrapper, VectorNormalizeReward)


@runtime_checkable
class HasGranularity(Protocol):
    """A wrapper whose actions are several tokens."""

    tokens_per_action: int


class _Term(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def gamma(self) -> float: ...


@runtime_checkable
class HasRewardTerm(Protocol):
    """A wrapper that adds or replaces a reward term."""

    @property
    def reward_term(self) -> _Term:
        """The term."""
        ...


@runtime_checkable
class HasScoreScale(Protocol):
    """A wrapper that changes the units of the score."""

    scale: Any


@runtime_checkable
class AddsInfo(Protocol):
    """A wrapper that adds numbers to the info of every step."""

    adds_info: tuple[str, ...]


@runtime_checkable
class HasNumericInfo(Protocol):
    """A wrapper whose infos have constant keys and numbers only."""

    numeric_keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A kind of wrapper that may not be inside another one."""

    forbids: Callable[[Any, str | None], bool]
    """``f(inner wrapper, name of the outer wrapper's reward term)``."""
    message: str
    """What the error says; ``{outer}``, ``{inner}``, ``{term}`` and ``{gamma}`` are filled in."""


def _has_term(inner: Any, term: str | None) -> bool:
    return isinstance(inner, HasRewardTerm) and inner.reward_term.name == term


def _is_foreign_reward(inner: Any, term: str | None) -> bool:
    return isinstance(inner, _REWARD_CHANGERS) and not isinstance(inner, RolloutTransform)


_SINGLE_TOKENS = Rule(
    forbids=lambda inner, term: isinstance(inner, HasGranularity),
    message="{outer} works on single tokens, got actions of {inner}; "
    "put {outer} inside {inner}: {inner}({outer}(env, ...), ...)",
)
_ONE_GRANULARITY = Rule(
    forbids=lambda inner, term: isinstance(inner, HasGranularity),
    message="{outer} sets the time granularity, but {inner} inside it has already done so; "
    "keep one of them",
)
_ONE_OF_EACH_TERM = Rule(
    forbids=_has_term,
    message="{outer} sets the reward term {term!r}, but {inner} inside it already does; "
    "keep one of them",
)
_NO_FOREIGN_REWARD = Rule(
    forbids=_is_foreign_reward,
    message="{outer} returns the sum of the reward terms, so the change made by {inner} inside it "
    "would be lost; put {inner} outside: {inner}({outer}(env, ...), ...)",
)
_NO_DISCOUNT = Rule(
    forbids=lambda inner, term: isinstance(inner, HasRewardTerm) and inner.reward_term.gamma != 1.0,
    message="{outer} sums the rewards of its tokens without a discount, so {inner} with "
    "gamma={gamma:g} inside it would move the optimum; put {inner} outside {outer}: "
    "{inner}({outer}(env, ...), gamma={gamma:g})",
)
_ONE_SCORE_SCALE = Rule(
    forbids=lambda inner, term: isinstance(inner, HasScoreScale),
    message="{outer} is already inside; keep one of them",
)
_WHOLE_SCORE = Rule(
    forbids=lambda inner, term: _has_term(inner, "score"),
    message="{outer} maps the whole score, but {inner} inside it has spread the score over the "
    "steps; put {outer} inside {inner}: {inner}({outer}(env, ...), ...)",
)
_INFO_AS_IT_IS = Rule(
    forbids=lambda inner, term: isinstance(inner, HasNumericInfo),
    message="{inner} changes the info that other wrappers read, so it is the outermost one, got "
    "{outer} around it; put {inner} outside: {inner}({outer}(env, ...), ...)",
)
_ONE_NUMERIC_INFO = Rule(
    forbids=lambda inner, term: isinstance(inner, HasNumericInfo),
    message="{outer} is already inside; keep one of them",
)

# What a wrapper does -> what may not be inside it.
TOKEN_REWARD = (_INFO_AS_IT_IS, _SINGLE_TOKENS, _NO_FOREIGN_REWARD, _ONE_OF_EACH_TERM)
ACTION_REWARD = (_INFO_AS_IT_IS, _NO_FOREIGN_REWARD, _ONE_OF_EACH_TERM)
DEFAULT_REWARD = (_INFO_AS_IT_IS, _ONE_OF_EACH_TERM)
SCORE_UNITS = (_INFO_AS_IT_IS, _NO_FOREIGN_REWARD, _ONE_SCORE_SCALE, _WHOLE_SCORE)
GRANULARITY = (_INFO_AS_IT_IS, _ONE_GRANULARITY, _NO_DISCOUNT)
TOKEN_STEPS = (_INFO_AS_IT_IS, _SINGLE_TOKENS)
VIEW = (_INFO_AS_IT_IS,)
NUMERIC_INFO = (_ONE_NUMERIC_INFO,)
ADAPTER = ()


def check_order(env: Any, outer: str, rules: tuple[Rule, ...], term: str | None = None) -> TokenMDP:
    """Refuse an environment around which a wrapper makes no sense.

    Args:
        env: what is to be wrapped.
        outer: the name of the wrapper.
        rules: what may not be inside it.
        term: the name of the wrapper's reward term, if it has one.

    Returns:
        The MDP of the environment.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if a wrapper inside breaks a rule; the message names the order that works.
    """
    if not isinstance(env.unwrapped, RLHFEnv | RLHFVectorEnv):
        raise TypeError(f"{outer} wraps an RLHF-v0 environment, got {env.unwrapped}")
    for rule in rules:
        for inner in inner_wrappers(env):
            if rule.forbids(inner, term):
                gamma = inner.reward_term.gamma if isinstance(inner, HasRewardTerm) else 1.0
                names = {"outer": outer, "inner": wrapper_name(inner)}
                raise ValueError(rule.message.format(**names, term=term, gamma=gamma))
    return token_mdp(env)


def token_mdp(env: Any) -> TokenMDP:
    """Return the MDP of an ``RLHF-v0``, wrapped or not."""
    return env.unwrapped.mdp


def inner_wrappers(env: Any) -> Iterator[Any]:
    """Yield ``env`` and what it wraps, outermost first, without the environment itself."""
    while isinstance(env, gym.Wrapper | VectorWrapper):
        yield env
        env = env.env


def has_granularity(env: Any) -> bool:
    """Return whether a step of ``env`` may be more than one token."""
    return any(isinstance(inner, HasGranularity) for inner in inner_wrappers(env))


def wrapper_name(wrapper: Any) -> str:
    """Return the name under which a wrapper is imported.

    `wrappers.vector` exports ``VectorEveryK`` as ``EveryK``.
    """
    kind = type(wrapper)
    is_own = kind.__module__.split(".")[0] == __name__.split(".")[0]
    return kind.__name__.removeprefix("Vector") if is_own else kind.__name__
