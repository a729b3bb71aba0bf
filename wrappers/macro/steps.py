"""Several steps of an environment as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Space
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from wrappers.macro.action_space import TokenPlan, as_array, plan_tokens
from wrappers.stack.order import token_mdp
from wrappers.stack.rows import join_info, split_info, step_info

Transition = tuple[Any, float, bool, bool, dict[str, Any]]
VectorTransition = tuple[Any, Any, Any, Any, dict[str, Any]]
AreOver = Callable[[TokenMDP, Sequence[int]], list[bool]]


def take_tokens(env: gym.Env[Any, Any], action: Any, size: int, are_over: AreOver) -> Transition:
    """Step until the episode ends, the action is over, or ``size`` tokens are taken.

    Args:
        env: the wrapped environment.
        action: a macro action.
        size: the largest number of tokens in an action.
        are_over: ``f(mdp, rows)``, for some rows, whether the action ends after the token just
            written.

    Returns:
        The last observation and flags, the sum of the rewards and the merged infos.

    Raises:
        ValueError: if the action is not in the action space; nothing has changed then.
    """
    mdp = token_mdp(env)
    plan = _row_plan(action, env, mdp, size)
    tokens = (plan.row_action(0, step) for step in range(size))
    return _take(env, tokens, lambda: are_over(mdp, [0])[0])


def take_rows(
    envs: VectorEnv[Any, Any, Any], actions: Any, size: int, are_over: AreOver
) -> VectorTransition:
    """Step each row until its episode ends, its action is over, or ``size`` tokens are taken.

    A row that is done is left out of the other rows' steps; one that is reset instead of stepped,
    as under NEXT_STEP, takes no token.

    Args:
        envs: the wrapped environment.
        actions: N macro actions.
        size: the largest number of tokens in an action.
        are_over: ``f(mdp, rows)``, for some rows, whether the action ends after the token just
            written.

    Raises:
        ValueError: if an action is not in the action space; no row has changed then.
    """
    base = cast(RLHFVectorEnv, envs.unwrapped)
    space = envs.single_action_space
    eos_id = _eos_of_actions(space, base.single_action_space, base.task)
    plan = plan_tokens(actions, space, size, _remaining_tokens(base.mdp), eos_id)
    row_infos: list[list[dict[str, Any]]] = [[] for _ in range(envs.num_envs)]
    is_done = torch.zeros(envs.num_envs, dtype=torch.bool)
    transitions = []
    for step in range(size):
        with base.paused(is_done):
            transition = envs.step(plan.actions(step))
        transitions.append(transition)
        ended = torch.as_tensor(transition[2] | transition[3]).cpu()
        infos = split_info(transition[4], envs.num_envs)
        stepped = (~is_done).nonzero().flatten().tolist()
        for row in stepped:
            row_infos[row].append(infos[row])
            is_done[row] = ended[row] or not step_info(infos[row])
        unfinished = [row for row in stepped if not is_done[row]]
        is_done[unfinished] = torch.tensor(are_over(base.mdp, unfinished), dtype=torch.bool)
        if is_done.all():
            break
    return _merged(transitions, row_infos)


def _take(
    env: gym.Env[Any, Any], actions: Iterable[Any], is_over: Callable[[], bool]
) -> Transition:
    observation, rewards, terminated, truncated, infos = None, [], False, False, []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(float(reward))
        infos.append(info)
        if terminated or truncated or is_over():
            break
    return observation, sum(rewards), terminated, truncated, _merged_info(infos)


def _merged(
    transitions: list[VectorTransition], row_infos: list[list[dict[str, Any]]]
) -> VectorTransition:
    observations, rewards, terminated, truncated, _ = transitions[-1]
    for transition in transitions[:-1]:
        rewards = rewards + transition[1]
        terminated = terminated | transition[2]
        truncated = truncated | transition[3]
    info = join_info([_merged_row(infos) for infos in row_infos], isinstance(rewards, Tensor))
    return observations, rewards, terminated, truncated, info


def _merged_row(infos: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row's info; infos before a reset in the same step belong to the final info."""
    last = infos[-1]
    if "final_info" not in last:
        return _merged_info(infos)
    return {**last, "final_info": _merged_info([*infos[:-1], last["final_info"]])}


def _merged_info(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the infos of consecutive steps of one episode as one.

    Reward terms and log-probabilities are summed; of everything else the last value counts.
    """
    merged = {key: value for info in infos for key, value in info.items()}
    steps = [info["reward_terms"] for info in infos if "reward_terms" in info]
    if steps:
        merged["ref_logprob"] = sum(info["ref_logprob"] for info in infos)
        merged["reward_terms"] = {name: sum(terms[name] for terms in steps) for name in steps[-1]}
    return merged


def _row_plan(action: Any, env: gym.Env[Any, Any], mdp: TokenMDP, size: int) -> TokenPlan:
    """Return the checked tokens of a single environment's macro action."""
    if isinstance(action, dict):
        actions: Any = {
            key: as_array(values, f"action {key}")[None] for key, values in action.items()
        }
    else:
        actions = as_array(action, "action")[None]
    space = env.action_space
    eos_id = _eos_of_actions(space, env.unwrapped.action_space, mdp.task)
    return plan_tokens(actions, space, size, _remaining_tokens(mdp), eos_id)


def _remaining_tokens(mdp: TokenMDP) -> np.ndarray:
    """[N] how many more tokens each row's episode can take; 0 where none is open."""
    remaining = (mdp.max_new_tokens - mdp.response_lengths) * mdp.is_open
    return remaining.cpu().numpy()


def _eos_of_actions(space: Space[Any], token_space: Space[Any], task: Task) -> int | None:
    """Return the EOS id if actions are token ids, None if a wrapper has changed them.

    Args:
        space: the space of one row's action in the wrapped environment.
        token_space: the same of the environment without wrappers.
        task: gives the EOS id.
    """
    return task.eos_id if space is token_space else None
