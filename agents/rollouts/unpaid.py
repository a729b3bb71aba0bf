"""Episodes that have been sampled, by the policy or elsewhere, and not yet paid."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.rollouts.sampling_plan import SamplingPlan
from agents.samplers.external import ask
from agents.samplers.protocol import Sampler, SamplingRequest
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv


def unpaid_rollout(
    tokens: Tensor, starts: Tensor, lengths: Tensor, logprobs: Tensor, plan: SamplingPlan
) -> Rollout:
    """Return the record of E sampled responses, rewards and reference still 0.

    Args:
        tokens: [E, L] prompt and response.
        starts: [E] prompt lengths.
        lengths: [E] prompt and response together.
        logprobs: [E, L] of the actions.
        plan: whose groups and prompt numbers the record keeps.
    """
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    is_action = (columns >= starts[:, None]) & (columns < lengths[:, None])
    return unpaid_texts(tokens, is_action, logprobs, plan)


def unpaid_texts(
    tokens: Tensor, is_action: Tensor, logprobs: Tensor, plan: SamplingPlan
) -> Rollout:
    """Return the record of E episodes of which some tokens are actions, nothing paid.

    Args:
        tokens: [E, L] prompts, actions, and what the environment said.
        is_action: [E, L] bool.
        logprobs: [E, L] of the actions.
        plan: whose groups and prompt numbers the record keeps.
    """
    width = int(is_action.any(dim=0).nonzero().max()) + 1
    tokens, is_action, logprobs = (each[:, :width] for each in (tokens, is_action, logprobs))
    zeros = torch.zeros_like(logprobs)
    return Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=logprobs,
        ref_logprobs=zeros,
        rewards=zeros,
        reward_terms={"score": zeros, "kl": zeros},
        score=zeros[:, 0],
        terminated=torch.ones(len(tokens), dtype=torch.bool, device=tokens.device),
        group=plan.group.to(tokens.device),
        prompt_index=plan.prompt_index.to(tokens.device),
        decision=(is_action.long().cumsum(dim=1) - 1).masked_fill(~is_action, -1),
    )


def sampled_elsewhere(
    base: RLHFVectorEnv, sampler: Sampler, plan: SamplingPlan, temperature: float
) -> Rollout:
    """Return the episodes of a plan as a sampler finished them.

    Args:
        base: gives horizon, vocabulary and device.
        sampler: is asked for all of them at once.
        plan: not a greedy one, which has no seeds.
        temperature: of the sampler.

    Raises:
        ValueError: in a conversation.
        SamplerError: if it fails, or answers with something that is no episode.
    """
    mdp, task = base.mdp, base.task
    if task.respond is not None:
        raise ValueError(
            "a sampler writes whole responses, got a conversation, in which the environment "
            "answers between turns; leave sampler out"
        )
    assert plan.seeds is not None, "greedy plans are decoded by the policy"
    request = SamplingRequest(
        prompts=plan.prompts,
        seeds=plan.seeds.tolist(),
        max_new_tokens=mdp.max_new_tokens,
        temperature=temperature,
        eos_id=task.eos_id,
        vocab_size=task.vocab_size,
    )
    found = ask(sampler, request, mdp.max_tokens, task.pad_id)
    return unpaid_rollout(
        found.tokens.to(mdp.device),
        found.starts.to(mdp.device),
        found.lengths.to(mdp.device),
        found.logprobs.to(mdp.device),
        plan,
    )
