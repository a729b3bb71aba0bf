"""Rollouts: finished episodes of a policy, decoded at once or stepped through the environment.

Both ways give the same tokens under the same seed: prompts and the uniform numbers behind every
token are drawn per episode, not per row. An episode that has begun is always finished, and rows
are refilled in the order of episodes, so short responses are not over-represented.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.contract import ActingAgent, check_methods
from agents.draw import Draw, Seed, draw_episodes
from agents.policy import Policy
from agents.stepping import step_through
from rlhf_env.options import check_count
from rlhf_env.rollout import Rollout, RolloutTransform
from rlhf_env.vector_env import RLHFVectorEnv


def collect(
    envs: VectorEnv[Any, Any, Any],
    policy: Policy | ActingAgent,
    episodes: int,
    *,
    fast: bool = True,
    seed: Seed = None,
    group_size: int = 1,
    prompts: Sequence[Tensor] | None = None,
    greedy: bool = False,
) -> Rollout:
    """Return finished episodes with all rewards.

    Args:
        envs: a vector environment of this project, with or without wrappers.
        policy: a `Policy`, or anything with ``act(observation) -> (tokens, logprobs)``.
        episodes: how many.
        fast: decode whole responses and pay them in one pass. It needs a `Policy`, and wrappers
            that can transform a rollout; otherwise the environment is stepped.
        seed: of prompts and tokens; None draws one.
        group_size: consecutive episodes that share a prompt draw.
        prompts: use these in turn instead of drawing from the task's.
        greedy: take the most likely token at every step, which needs a `Policy`; ``logprobs`` are
            those of the policy all the same.

    Raises:
        ValueError: if the environment is not one of this project, the counts do not fit, a prompt
            is empty or too long, or somebody else's agent is to be greedy.
    """
    base = base_environment(envs)
    if not isinstance(policy, Policy):
        check_methods("policy", policy, ("act",), "act(observation)")
        if greedy:
            raise ValueError(
                f"greedy needs a Policy, got {type(policy).__name__}, which chooses its actions "
                "itself; leave greedy out"
            )
    check_count("episodes", episodes)
    check_count("group_size", group_size)
    draw = draw_episodes(base, episodes, group_size, seed, prompts, greedy=greedy)
    _prepare(base, policy)
    transforms = rollout_transforms(envs)
    if not fast or transforms is None or not isinstance(policy, Policy) or base.mdp.options.policy:
        return step_through(envs, policy, draw)
    rollout = base.evaluate(decode(base, policy, draw))
    for transform in transforms:
        rollout = transform.rollout(rollout)
    return rollout


def decode(base: RLHFVectorEnv, policy: Policy, draw: Draw) -> Rollout:
    """Sample all episodes in at most N rows at a time; nothing is paid yet."""
    mdp, task = base.mdp, base.task
    count, width, eos = len(draw.prompts), mdp.max_tokens, task.eos_id
    rows = min(base.num_envs, count)
    tokens = torch.full((count, width), task.pad_id, dtype=torch.int64, device=mdp.device)
    starts = torch.tensor([len(prompt) for prompt in draw.prompts], device=mdp.device)
    for episode, prompt in enumerate(draw.prompts):
        tokens[episode, : len(prompt)] = prompt.to(mdp.device)
    lengths = starts.clone()
    logprobs = torch.zeros((count, width), device=mdp.device)
    row_tokens, episode = tokens[:rows].clone(), torch.arange(rows, device=mdp.device)
    is_active = torch.ones(rows, dtype=torch.bool, device=mdp.device)
    started = rows
    while is_active.any():
        at = lengths[episode]
        step = (at - starts[episode]).clamp(max=mdp.max_new_tokens - 1)
        uniforms = draw.uniforms_at(episode, step)
        chosen, logprob = policy.sample(row_tokens, at, uniforms)
        active, position = episode[is_active], at[is_active]
        row_tokens[is_active, position] = chosen[is_active]
        tokens[active, position] = chosen[is_active]
        logprobs[active, position] = logprob[is_active]
        lengths[active] += 1
        is_full = lengths[episode] - starts[episode] == mdp.max_new_tokens
        for row in (is_active & ((chosen == eos) | is_full)).nonzero().flatten().tolist():
            if started < count:
                episode[row], row_tokens[row] = started, tokens[started]
                started += 1
            else:
                is_active[row] = False
    return unpaid_rollout(tokens, starts, lengths, logprobs, draw)


def unpaid_rollout(
    tokens: Tensor, starts: Tensor, lengths: Tensor, logprobs: Tensor, draw: Draw
) -> Rollout:
    """Return the record of E sampled episodes, rewards and reference still 0.

    Args:
        tokens: [E, L] prompt and response.
        starts: [E] prompt lengths.
        lengths: [E] prompt and response together.
        logprobs: [E, L] of the actions.
        draw: whose groups and prompt numbers the record keeps.
    """
    width = int(lengths.max())
    tokens, logprobs = tokens[:, :width], logprobs[:, :width]
    columns = torch.arange(width, device=tokens.device)
    is_action = (columns >= starts[:, None]) & (columns < lengths[:, None])
    zeros = torch.zeros_like(logprobs)
    return Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=logprobs,
        ref_logprobs=zeros,
        rewards=zeros,
        reward_terms={"score": zeros, "kl": zeros},
        score=zeros[:, 0],
        terminated=torch.ones_like(starts, dtype=torch.bool),
        group=draw.group.to(tokens.device),
        prompt_index=draw.prompt_index.to(tokens.device),
        decision=(columns - starts[:, None]).masked_fill(~is_action, -1),
    )


def base_environment(envs: Any) -> RLHFVectorEnv:
    """Return the environment under all wrappers.

    Raises:
        ValueError: if it is not this project's vector environment.
    """
    base = getattr(envs, "unwrapped", envs)
    if not isinstance(base, RLHFVectorEnv):
        raise ValueError(
            f"envs must be a vector environment of RLHF-v0, got {type(base).__name__}; "
            'make it with gym.make_vec("RLHF-v0", num_envs=...)'
        )
    return base


def rollout_transforms(envs: VectorEnv[Any, Any, Any]) -> list[RolloutTransform] | None:
    """Return the wrappers, innermost first; None if one of them can only be stepped."""
    transforms: list[RolloutTransform] = []
    layer: Any = envs
    while layer is not layer.unwrapped:
        if not isinstance(layer, RolloutTransform):
            return None
        transforms.insert(0, layer)
        layer = cast(Any, layer).env
    return transforms


def _prepare(base: RLHFVectorEnv, policy: Policy | ActingAgent) -> None:
    """Make the rollout depend on its seed and the weights, and on nothing that was done before."""
    base.mdp.reference.engine.forget()
    if isinstance(policy, Policy):
        # The owner of the model may have switched dropout on, or shared the environment with an
        # agent of another temperature.
        policy.eval()
        policy.lm.engine.forget()
        base.mdp.temperature = policy.temperature
