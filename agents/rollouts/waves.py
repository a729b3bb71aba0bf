"""Decoding on a device that the host does not wait for at every token.

On a GPU a small step takes less time than telling the host how it ended, so all rows decode until
the last of a wave has ended; whether it has is asked every few tokens. What is sampled after a
response's end is dropped. The episodes are those of `agents.rollouts.collect.decode`: each draws
its own numbers, whichever row and whichever batch it is in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.policy import Policy
from agents.rollouts.sampling_plan import SamplingPlan
from agents.rollouts.unpaid import unpaid_rollout
from rlhf_env.engine.sampling import check_rows_finite
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv

# Tokens between two questions whether all rows have ended.
_TOKENS_UNASKED = 16


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What has been sampled, on the device."""

    tokens: Tensor
    """[E, L]."""
    starts: Tensor
    """[E] prompt lengths."""
    lengths: Tensor
    """[E] prompt and response together."""
    logprobs: Tensor
    """[E, L]."""


def decodes_in_waves(base: RLHFVectorEnv, policy: Policy) -> bool:
    """Return whether the policy is on a GPU and its texts can be cached."""
    return base.mdp.device.type == "cuda" and policy.lm.engine.caches(base.mdp.max_tokens)


def decode_in_waves(base: RLHFVectorEnv, policy: Policy, plan: SamplingPlan) -> Rollout:
    """Sample all episodes, N at a time; nothing is paid yet.

    Args:
        base: has the device, the number of rows and the end of a response.
        policy: samples; `decodes_in_waves` or any other device whose texts are cached.
        plan: the prompts and random numbers.

    Raises:
        ValueError: if the policy's logits were not finite.
    """
    device, count = base.mdp.device, len(plan.prompts)
    begins = [len(prompt) for prompt in plan.prompts]
    tokens = torch.full((count, base.mdp.max_tokens), base.task.pad_id, dtype=torch.int64)
    for row, prompt in zip(tokens, plan.prompts, strict=True):
        row[: len(prompt)] = prompt
    starts = _sent(torch.tensor(begins), device)
    record = _Record(
        tokens=_sent(tokens, device),
        starts=starts,
        lengths=starts.clone(),
        logprobs=torch.zeros(tokens.shape, device=device),
    )
    for first in range(0, count, base.num_envs):
        rows = slice(first, min(first + base.num_envs, count))
        _decode_wave(base, policy, plan, record, rows, begins[rows])
    policy.lm.engine.reset_cache()
    check_rows_finite(record.logprobs.sum(dim=1))
    return unpaid_rollout(record.tokens, starts, record.lengths, record.logprobs, plan)


@torch.inference_mode()
def _decode_wave(
    base: RLHFVectorEnv,
    policy: Policy,
    plan: SamplingPlan,
    record: _Record,
    rows: slice,
    begins: list[int],
) -> None:
    """Decode some episodes side by side until all have ended."""
    engine, horizon = policy.lm.engine, base.mdp.max_new_tokens
    tokens, lengths = record.tokens[rows], record.lengths[rows]
    logprobs, starts = record.logprobs[rows], record.starts[rows]
    uniforms = None if plan.uniforms is None else plan.uniforms[rows]
    longest, is_common = max(begins), len(set(begins)) == 1
    engine.reset_cache()
    logits = engine.logits_view(tokens, starts)
    alive = torch.ones_like(starts, dtype=torch.bool)
    for step in range(horizon):
        numbers = None if uniforms is None else uniforms[:, step]
        chosen, logprob = policy.draw(logits, numbers, is_checked=False)
        positions = starts + step
        # Behind a response's end everything stays as it was.
        at = positions[:, None]
        tokens.scatter_(1, at, torch.where(alive, chosen, tokens.gather(1, at)[:, 0])[:, None])
        logprobs.scatter_(1, at, torch.where(alive, logprob, 0.0)[:, None])
        lengths += alive
        alive = alive & (chosen != base.task.eos_id)
        if step + 1 == horizon or (step % _TOKENS_UNASKED == 0 and not bool(alive.any())):
            return
        span = longest + step + 1
        logits = engine.decode_token(chosen, positions, span, is_common=is_common)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor without waiting, where its memory can be locked for that."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
