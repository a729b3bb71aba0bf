"""Several steps of a vector environment as one, each row for as long as its action lasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.vector_env import RLHFVectorEnv
from wrappers.macro_space import macro_space, plan_tokens
from wrappers.macro_step import eos_of_actions, merged_info, remaining_tokens
from wrappers.vector.row_infos import join_info, paid_info, split_info

AreOver = Callable[[TokenMDP, Sequence[int]], list[bool]]
Transition = tuple[Any, Any, Any, Any, dict[str, Any]]


def take_rows(
    envs: VectorEnv[Any, Any, Any], actions: Any, size: int, are_over: AreOver
) -> Transition:
    """Step each row until its episode ends, its action is over, or ``size`` tokens are taken.

    A row that is done sits out the other rows' steps; one that is reset instead of stepped, as
    NEXT_STEP wants it, takes no token.

    Args:
        envs: the wrapped environment.
        actions: macro actions, one per row.
        size: the most tokens of an action.
        are_over: ``f(mdp, rows)``, for some rows, whether the action ends after the token that
            each has just taken.

    Raises:
        ValueError: if an action is not in the action space; no row has changed then.
    """
    base = cast(RLHFVectorEnv, envs.unwrapped)
    space = envs.single_action_space
    eos_id = eos_of_actions(space, base.single_action_space, base.task)
    plan = plan_tokens(actions, space, size, remaining_tokens(base.mdp), eos_id)
    told: list[list[dict[str, Any]]] = [[] for _ in range(envs.num_envs)]
    held = torch.zeros(envs.num_envs, dtype=torch.bool)
    transitions = []
    for step in range(size):
        with base.holding(held):
            transition = envs.step(plan.actions(step))
        transitions.append(transition)
        ended = torch.as_tensor(transition[2] | transition[3]).cpu()
        infos = split_info(transition[4], envs.num_envs)
        stepped = (~held).nonzero().flatten().tolist()
        for row in stepped:
            told[row].append(infos[row])
            held[row] = ended[row] or not paid_info(infos[row])
        going = [row for row in stepped if not held[row]]
        held[going] = torch.tensor(are_over(base.mdp, going), dtype=torch.bool)
        if held.all():
            break
    return _merged(transitions, told, envs)


def _merged(
    transitions: list[Transition], told: list[list[dict[str, Any]]], envs: VectorEnv[Any, Any, Any]
) -> Transition:
    observations, rewards, terminated, truncated, _ = transitions[-1]
    for transition in transitions[:-1]:
        rewards = rewards + transition[1]
        terminated = terminated | transition[2]
        truncated = truncated | transition[3]
    info = join_info([_merged_row(infos) for infos in told], envs, isinstance(rewards, Tensor))
    return observations, rewards, terminated, truncated, info


def _merged_row(infos: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row's info; what was told before a reset at once belongs to the final info."""
    last = infos[-1]
    if "final_info" not in last:
        return merged_info(infos)
    return {**last, "final_info": merged_info([*infos[:-1], last["final_info"]])}


def set_macro_spaces(wrapper: Any, envs: VectorEnv[Any, Any, Any], size: int) -> None:
    """Give a vector wrapper the action spaces of macro actions.

    Raises:
        ValueError: if the inner actions are not tokens.
    """
    space = macro_space(envs.single_action_space, size, type(wrapper).__name__)
    wrapper.single_action_space = space
    wrapper.action_space = batch_space(space, envs.num_envs)
