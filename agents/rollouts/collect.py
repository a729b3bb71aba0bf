"""Rollouts: finished episodes of a policy, decoded at once or stepped through the environment.

Both ways give the same tokens under the same seed: prompts and the uniform number of every token
are drawn per episode, not per row. An episode that has begun is always finished, and rows are
refilled in the order of episodes, so short responses are not over-represented. Of several processes
each makes a share of the episodes, or the first makes those that must be stepped; all return all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.policy import Policy
from agents.rollouts.contract import ActingAgent, check_methods
from agents.rollouts.crew import crew_of, parts_of
from agents.rollouts.dialogues import decode_dialogues
from agents.rollouts.divided import (
    joined_shares,
    made_in_shares,
    made_on_first,
    parted_transforms,
)
from agents.rollouts.sampling_plan import SamplingPlan, Seed, draw_episodes
from agents.rollouts.stepping import step_through
from agents.rollouts.unpaid import sampled_elsewhere, unpaid_rollout, unpaid_texts
from agents.rollouts.waves.decoding import decode_in_waves, decodes_in_waves, recorders_of
from agents.samplers.protocol import Sampler
from rlhf_env.checks import check_count
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
    kl_coef: float | None = None,
    sampler: Sampler | None = None,
) -> Rollout:
    """Return finished episodes with all rewards; of several processes all must call it.

    Args:
        envs: a vector environment of this project, with or without wrappers.
        policy: a `Policy`, or anything with ``act(observation) -> (tokens, logprobs)``.
        episodes: how many.
        fast: decode whole responses and pay them in one pass. It needs a `Policy`, and wrappers
            that can transform a rollout; otherwise the environment is stepped.
        seed: of prompts and tokens; None draws one.
        group_size: consecutive episodes that share a prompt plan.
        prompts: use these in turn instead of drawing from the task's.
        greedy: take the most likely token at every step, which needs a `Policy`; ``logprobs`` are
            those of the policy all the same.
        kl_coef: beta that these episodes are paid with; the environment's own when None.
        sampler: writes the responses in place of ``policy``, whose temperature it gets;
            ``logprobs`` are the sampler's. Episodes cannot be stepped, or greedy, then.

    Raises:
        ValueError: if the environment is not one of this project, the counts do not fit, a prompt
            is empty or too long, ``greedy`` is set without a `Policy`, or episodes of a sampler
            would have to be stepped.
        SamplerError: if the sampler fails.
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
    plan = draw_episodes(base, episodes, group_size, seed, prompts, greedy=greedy)
    transforms = rollout_transforms(envs)
    temperature = policy.temperature if isinstance(policy, Policy) else None
    # First the environment's lock, then the policy's: everywhere in this order.
    with base.overridden(kl_coef=kl_coef, temperature=temperature), _lock_of(policy):
        prepare(base, policy)
        is_stepped = not fast or transforms is None or base.mdp.options.policy is not None
        if sampler is not None and (is_stepped or greedy or not isinstance(policy, Policy)):
            raise ValueError(
                "a sampler writes whole responses in place of a Policy, got greedy, fast=False, "
                "another policy, or an environment that must be stepped; leave it out"
            )
        if is_stepped or not isinstance(policy, Policy):
            return made_on_first(lambda: step_through(envs, policy, plan), base.mdp.device)
        inner, outer = parted_transforms(transforms or ())

        def share(rows: Tensor) -> Rollout:
            part = plan.part(rows)
            if sampler is None:
                return made_at_once(base, inner, policy, part)
            said = sampled_elsewhere(base, sampler, part, policy.temperature)
            return with_wrappers(inner, base.evaluate(said))

        crew = crew_of(policy) if sampler is None else None
        if crew is None:
            made = made_in_shares(plan, share, base)
        else:
            beta, divisor = base.kl_coef, base.mdp.temperature
            parts = parts_of(plan, len(crew))
            made = joined_shares(crew.shares(parts, kl_coef=beta, temperature=divisor), plan, base)
        if not outer:
            return made
        return made_on_first(lambda: with_wrappers(outer, made), base.mdp.device)


def collect_part(
    envs: VectorEnv[Any, Any, Any],
    policy: Policy,
    part: SamplingPlan,
    *,
    kl_coef: float,
    temperature: float,
) -> Rollout:
    """Return the finished episodes of a part of a plan, as `collect` of all of it makes them.

    Wrappers that do not treat episodes apart are left out: they are for whoever has all episodes.

    Args:
        envs: a vector environment of this project, with wrappers that can transform a rollout.
        policy: samples.
        part: of the plan.
        kl_coef: beta that the episodes are paid with.
        temperature: divides the reference's logits.
    """
    base = base_environment(envs)
    with base.overridden(kl_coef=kl_coef, temperature=temperature), policy.lock:
        prepare(base, policy)
        inner, _ = parted_transforms(rollout_transforms(envs) or ())
        return made_at_once(base, inner, policy, part)


def made_at_once(
    base: RLHFVectorEnv, inner: Sequence[RolloutTransform], policy: Policy, plan: SamplingPlan
) -> Rollout:
    """Return the episodes of a plan, decoded and paid, with what some wrappers make of them."""
    return with_wrappers(inner, base.evaluate(decode(base, policy, plan)))


def pay(
    envs: VectorEnv[Any, Any, Any],
    rollout: Rollout,
    *,
    kl_coef: float | None = None,
    temperature: float | None = None,
) -> Rollout:
    """Return finished episodes with all rewards, those of the wrappers included.

    Args:
        envs: a vector environment of this project, with or without wrappers.
        rollout: what was said; nothing of it is paid yet.
        kl_coef: beta; the environment's own when None.
        temperature: divides the reference's logits; the environment's own when None.

    Raises:
        ValueError: if a wrapper can only be stepped.
    """
    base, transforms = base_environment(envs), rollout_transforms(envs)
    if transforms is None:
        raise ValueError(
            "every wrapper must be able to transform finished episodes, got one without a "
            "rollout() method; leave it out, or give it one"
        )
    with base.overridden(kl_coef=kl_coef, temperature=temperature):
        return with_wrappers(transforms, base.evaluate(rollout))


def decode(base: RLHFVectorEnv, policy: Policy, plan: SamplingPlan) -> Rollout:
    """Sample all episodes; nothing is paid yet."""
    if base.task.respond is not None:
        dialogue, logprobs = decode_dialogues(base, policy, plan)
        return unpaid_texts(dialogue.texts, dialogue.is_action, logprobs, plan)
    if decodes_in_waves(base, policy):
        recorders = recorders_of(policy, policy.lm.device)
        return decode_in_waves(base, policy, plan, recorders)
    mdp, task = base.mdp, base.task
    count, width = len(plan.prompts), mdp.max_tokens
    tokens = torch.full((count, width), task.pad_id, dtype=torch.int64, device=mdp.device)
    starts = torch.tensor([len(prompt) for prompt in plan.prompts], device=mdp.device)
    for episode, prompt in enumerate(plan.prompts):
        tokens[episode, : len(prompt)] = prompt.to(mdp.device)
    logprobs = torch.zeros((count, width), device=mdp.device)
    begun = Begun(tokens=tokens, logprobs=logprobs, starts=starts, lengths=starts)
    return finish(base, policy, begun, plan)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """E episodes, each at least one token short of its end."""

    tokens: Tensor
    """[E, L] prompts and what is there of the responses."""
    logprobs: Tensor
    """[E, L] log pi of what is there of the responses."""
    starts: Tensor
    """[E] prompt lengths."""
    lengths: Tensor
    """[E] tokens that are there."""


def finish(base: RLHFVectorEnv, policy: Policy, begun: Begun, plan: SamplingPlan) -> Rollout:
    """Sample what is missing of some episodes, in at most N rows at a time; nothing is paid yet.

    A row whose episode has ended takes the next one at once. When there are none left it gives
    its place to the last row, so that no row is ever decoded for nothing.

    Args:
        base: its horizon is the longest response.
        policy: chooses the tokens.
        begun: the episodes.
        plan: the uniform number of each step of the responses.
    """
    if base.task.respond is not None:
        raise ValueError(
            "responses are continued in single turns only, got a conversation, whose environment "
            'has random numbers of its own; leave out critic="monte_carlo" and critic checks'
        )
    mdp, eos, count = base.mdp, base.task.eos_id, len(begun.tokens)
    tokens, logprobs, starts = begun.tokens.clone(), begun.logprobs.clone(), begun.starts
    lengths = begun.lengths.clone()
    started = min(base.num_envs, count)
    episode = torch.arange(started, device=mdp.device)
    row_tokens, at = tokens[:started].clone(), lengths[:started].clone()
    step = at - starts[:started]
    with policy.lm.engine.assume_frozen():
        while len(episode):
            rows = torch.arange(len(episode), device=mdp.device)
            chosen, logprob = policy.sample(row_tokens, at, plan.uniforms_at(episode, step))
            row_tokens[rows, at], logprobs[episode, at] = chosen, logprob
            at, step = at + 1, step + 1
            has_ended = (chosen == eos) | (step == mdp.max_new_tokens)
            ended = has_ended.nonzero().flatten().tolist()
            if not ended:
                policy.lm.engine.assume_grown()
            # From the last row on, so that a row that gives up its place moves none of the others.
            for row in reversed(ended):
                done, last = episode[row].clone(), len(episode) - 1
                tokens[done], lengths[done] = row_tokens[row], at[row]
                if started < count:
                    policy.lm.engine.forget_row(row)
                    episode[row], row_tokens[row] = started, tokens[started]
                    at[row] = lengths[started]
                    step[row] = lengths[started] - starts[started]
                    started += 1
                    continue
                policy.lm.engine.copy_row(last, row)
                for each in (episode, row_tokens, at, step):
                    each[row] = each[last].clone()
                episode, row_tokens = episode[:last], row_tokens[:last]
                at, step = at[:last], step[:last]
    return unpaid_rollout(tokens, starts, lengths, logprobs, plan)


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


def with_wrappers(transforms: Sequence[RolloutTransform], rollout: Rollout) -> Rollout:
    """Return paid episodes as the wrappers change them, the innermost first."""
    for transform in transforms:
        rollout = transform.rollout(rollout)
    return rollout


def _lock_of(policy: Policy | ActingAgent) -> AbstractContextManager[None]:
    return policy.lock if isinstance(policy, Policy) else nullcontext()


def prepare(base: RLHFVectorEnv, policy: Policy | ActingAgent) -> None:
    """Make the rollout depend on its seed and the weights, and on nothing else."""
    base.mdp.reference.engine.reset_cache()
    if isinstance(policy, Policy):
        # The owner of the model may have switched dropout on.
        policy.eval()
        policy.lm.engine.reset_cache()
