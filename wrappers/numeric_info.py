"""Infos whose keys never change and whose values are numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from rlhf_env.mdp.mdp import TokenMDP
from wrappers.stack.info_view import InfoView, VectorInfoView
from wrappers.stack.order import (
    NUMERIC_INFO,
    AddsInfo,
    HasRewardTerm,
    check_order,
    inner_wrappers,
    token_mdp,
)
from wrappers.stack.rows import join_info, split_info

FINISH_REASONS = {None: 0.0, "eos": 1.0, "length": 2.0, "environment": 3.0}
"""The number of each finish reason; 0 while the episode is open."""


class NumericInfo(InfoView, RecordConstructorArgs):
    """Give every info the same keys, and numbers only: at reset, in the middle and at the end.

    For libraries that stack infos or convert them to tensors, such as Minari, Tianshou and
    `gymnasium.wrappers.NumpyToTorch`. The keys are ``prompt_index``, ``response_length`` (tokens so
    far), ``ref_logprob``, ``reward_terms`` (of the environment and of the wrappers inside),
    ``score`` and ``finish_reason``: 0 while the episode is open, 1 for "eos", 2 for "length", 3 for
    "environment". What is not known yet is 0. Other keys are left out, unless named. It goes
    outside of all other wrappers of this package.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import NumericInfo
        >>> env = NumericInfo(gym.make("RLHF-v0", task="toy15", kl_coef=0.0))
        >>> _, first = env.reset(seed=0)
        >>> *_, last = env.step(0)
        >>> first["finish_reason"], last["finish_reason"], first.keys() == last.keys()
        (0.0, 1.0, True)
    """

    def __init__(self, env: gym.Env[Any, Any], keys: Sequence[str] = ()) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0``.
            keys: more keys to keep, such as those of other libraries' wrappers; their values must
                be numbers, and are 0 in an info without them.

        Raises:
            TypeError: if ``env`` is another environment.
            ValueError: if a key is not a name, or the order of wrappers makes no sense.
        """
        self.numeric_keys, self._terms = info_keys(env, keys)
        RecordConstructorArgs.__init__(self, keys=keys)
        InfoView.__init__(self, env)

    def shown(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return the numbers of an info."""
        return numeric_info(info, self.numeric_keys, self._terms, row_state(token_mdp(self), 0))


class VectorNumericInfo(VectorInfoView, RecordConstructorArgs):
    """Vector version of `NumericInfo`: every value is [N], and every mask True.

    Under SAME_STEP ``final_info`` has the same keys; like ``final_obs``, it is there when an
    episode has ended.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import NumericInfo
        >>> envs = NumericInfo(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"))
        >>> _ = envs.reset(seed=0)
        >>> envs.step(np.array([0, 1]))[4]["finish_reason"].tolist()
        [1.0, 0.0]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], keys: Sequence[str] = ()) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")``.
            keys: more keys to keep, such as those of other libraries' wrappers; their values must
                be numbers, and are 0 in an info without them.

        Raises:
            TypeError: if ``env`` is another environment.
            ValueError: if a key is not a name, or the order of wrappers makes no sense.
        """
        self.numeric_keys, self._terms = info_keys(env, keys)
        RecordConstructorArgs.__init__(self, keys=keys)
        super().__init__(env)

    def shown(self, info: dict[str, Any], tensors: bool) -> dict[str, Any]:
        """Return the numbers of all rows' infos."""
        mdp, rows = token_mdp(self.env), []
        for number, row in enumerate(split_info(info, self.num_envs)):
            state = row_state(mdp, number)
            numbers = numeric_info(row, self.numeric_keys, self._terms, state)
            if "final_info" in row:
                final = numeric_info(row["final_info"], self.numeric_keys, self._terms, state)
                numbers |= {"final_info": final, "final_obs": row["final_obs"]}
            rows.append(numbers)
        return join_info(rows, tensors)


def info_keys(env: Any, keys: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of a numeric info around ``env``, and the names of its reward terms.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if a key is not a name, or the order of wrappers makes no sense.
    """
    check_order(env, "NumericInfo", NUMERIC_INFO)
    is_list = isinstance(keys, Iterable) and not isinstance(keys, str)
    if not is_list or not all(isinstance(key, str) and key for key in keys):
        raise ValueError(f"keys must be a list of names, got {keys!r}")
    added = [
        key
        for inner in inner_wrappers(env)
        if isinstance(inner, AddsInfo)
        for key in inner.adds_info
    ]
    terms = [
        inner.reward_term.name for inner in inner_wrappers(env) if isinstance(inner, HasRewardTerm)
    ]
    names = ("prompt_index", "response_length", "ref_logprob", "score", *added, *keys)
    return tuple(dict.fromkeys(names)), tuple(dict.fromkeys(["score", "kl", *reversed(terms)]))


def row_state(mdp: TokenMDP, row: int) -> dict[str, float]:
    """Return what is known of a row's episode at any time."""
    return {
        "prompt_index": float(mdp.prompt_index[row]),
        "response_length": float(mdp.response_lengths[row]),
    }


def numeric_info(
    info: dict[str, Any], keys: Sequence[str], terms: Sequence[str], state: dict[str, float]
) -> dict[str, Any]:
    """Return the info of one row with constant keys and numbers only.

    Args:
        info: any info of a reset or a step.
        keys: its keys but for ``reward_terms`` and ``finish_reason``.
        terms: the keys of ``reward_terms``.
        state: values for keys that ``info`` lacks; others are 0.
    """
    given = info.get("reward_terms", {})
    return {
        **{key: float(info.get(key, state.get(key, 0.0))) for key in keys},
        "reward_terms": {name: float(given.get(name, 0.0)) for name in terms},
        "finish_reason": FINISH_REASONS[info.get("finish_reason")],
    }
