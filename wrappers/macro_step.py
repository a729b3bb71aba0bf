"""Several steps of a single environment as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Space

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.task import Task
from wrappers.macro_space import TokenPlan, as_array, plan_tokens

Transition = tuple[Any, float, bool, bool, dict[str, Any]]


def take(
    env: gym.Env[Any, Any], actions: Iterable[Any], is_boundary: Callable[[], bool]
) -> Transition:
    """Step until the episode ends, a boundary is reached, or there are no more actions.

    Returns:
        The last observation and flags, the summed reward and the merged infos.
    """
    observation, rewards, terminated, truncated, infos = None, [], False, False, []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(float(reward))
        infos.append(info)
        if terminated or truncated or is_boundary():
            break
    return observation, sum(rewards), terminated, truncated, merged_info(infos)


def merged_info(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the info of several steps as one: rewards and log-probabilities summed, else the last.

    Args:
        infos: the infos of consecutive steps of one episode.
    """
    merged = {key: value for info in infos for key, value in info.items()}
    paid = [info["reward_terms"] for info in infos if "reward_terms" in info]
    if paid:
        merged["ref_logprob"] = sum(info["ref_logprob"] for info in infos)
        merged["reward_terms"] = {name: sum(terms[name] for terms in paid) for name in paid[-1]}
    return merged


def plan_row(action: Any, env: gym.Env[Any, Any], mdp: TokenMDP, size: int) -> TokenPlan:
    """Return the checked tokens of a single environment's macro action.

    Raises:
        ValueError: if the action is not in the action space; nothing has changed then.
    """
    if isinstance(action, dict):
        actions: Any = {
            key: as_array(values, f"action {key}")[None] for key, values in action.items()
        }
    else:
        actions = as_array(action, "action")[None]
    space = env.action_space
    eos_id = eos_of_actions(space, env.unwrapped.action_space, mdp.task)
    return plan_tokens(actions, space, size, remaining_tokens(mdp), eos_id)


def remaining_tokens(mdp: TokenMDP) -> np.ndarray:
    """[N] how many more tokens each row's episode can take; 0 where none is open."""
    remaining = (mdp.max_new_tokens - mdp.response_lengths) * mdp.is_open
    return remaining.cpu().numpy()


def eos_of_actions(space: Space[Any], token_space: Space[Any], task: Task) -> int | None:
    """Return the EOS id if actions are token ids, None if a wrapper has changed them.

    Args:
        space: the space of an action of the wrapped environment, one row's.
        token_space: the same of the environment without wrappers.
        task: whose EOS it is.
    """
    return task.eos_id if space is token_space else None
