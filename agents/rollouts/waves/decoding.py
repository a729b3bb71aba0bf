"""Decoding on a device that the host does not wait for at every token.

On a GPU a small step takes less time than telling the host how it ended, so all rows decode until
the last of a wave has ended; whether it has is asked every few tokens. What is sampled after a
response's end is dropped. The episodes are those of `agents.rollouts.collect.decode`: each draws
its own numbers, whichever row and whichever batch it is in.

Launching the operations of a step one by one takes the host longer than a GPU takes for them, so
the step is recorded as a CUDA graph and repeated (`repeating`). Attention reads a number of
positions that is the same for many tokens; those behind a row's own are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch

from agents.policy import Policy
from agents.rollouts.sampling_plan import SamplingPlan
from agents.rollouts.unpaid import unpaid_rollout
from agents.rollouts.waves.recorders import Recorder, recorder_for
from agents.rollouts.waves.repeating import Repeating
from agents.rollouts.waves.wave import Wave
from rlhf_env.engine.placement import sent
from rlhf_env.engine.sampling import check_rows_finite
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv

# Tokens between two questions whether all rows have ended.
_TOKENS_UNASKED = 16
# Attention reads a multiple of so many positions, so that shapes last for as many tokens.
_SPAN_STEP = 128


def decodes_in_waves(base: RLHFVectorEnv, policy: Policy) -> bool:
    """Return whether the policy is on a GPU and its texts can be cached."""
    return base.mdp.device.type == "cuda" and policy.lm.engine.caches(base.mdp.max_tokens)


def recorders_of(policy: Policy, device: torch.device) -> Callable[[], Recorder] | None:
    """Return what makes the recorder of each wave; None where steps are not to be recorded.

    Args:
        policy: says whether they are to be.
        device: of its weights.
    """
    return recorder_for(policy.model, device) if policy.cuda_graphs else None


def decode_in_waves(
    base: RLHFVectorEnv,
    policy: Policy,
    plan: SamplingPlan,
    new_recorder: Callable[[], Recorder] | None = None,
) -> Rollout:
    """Sample all episodes, N at a time; nothing is paid yet.

    Args:
        base: has the device, the number of rows and the end of a response.
        policy: samples; `decodes_in_waves` or any other device whose texts are cached.
        plan: the prompts and random numbers.
        new_recorder: makes what records and repeats the steps of a wave; None repeats nothing.

    Raises:
        ValueError: if the policy's logits were not finite.
    """
    device, count = base.mdp.device, len(plan.prompts)
    begins = [len(prompt) for prompt in plan.prompts]
    tokens = torch.full((count, base.mdp.max_tokens), base.task.pad_id, dtype=torch.int64)
    for row, prompt in zip(tokens, plan.prompts, strict=True):
        row[: len(prompt)] = prompt
    tokens, starts = sent(tokens, device), sent(torch.tensor(begins), device)
    lengths, logprobs = starts.clone(), torch.zeros(tokens.shape, device=device)
    for first in range(0, count, base.num_envs):
        rows = slice(first, min(first + base.num_envs, count))
        wave = Wave(
            policy=policy,
            eos_id=base.task.eos_id,
            tokens=tokens[rows],
            logprobs=logprobs[rows],
            starts=starts[rows],
            lengths=lengths[rows],
            uniforms=None if plan.uniforms is None else plan.uniforms[rows],
            alive=torch.ones_like(starts[rows], dtype=torch.bool),
            last=torch.zeros_like(starts[rows]),
            drawn=starts.new_zeros(()),
        )
        # Weights and cache are others than the last wave's, so nothing recorded is kept.
        _decode(base, wave, max(begins[rows]), None if new_recorder is None else new_recorder())
    policy.lm.engine.reset_cache()
    check_rows_finite(logprobs.sum(dim=1))
    return unpaid_rollout(tokens, starts, lengths, logprobs, plan)


@torch.inference_mode()
def _decode(base: RLHFVectorEnv, wave: Wave, longest: int, recorder: Recorder | None) -> None:
    """Decode a wave, the longest prompt of which is given, until all responses have ended."""
    engine, last = wave.policy.lm.engine, longest + base.mdp.max_new_tokens - 1
    engine.reset_cache()
    wave.draw(engine.logits_view(wave.tokens, wave.starts))
    with nullcontext() if recorder is None else recorder.running():
        draws = Repeating(wave, recorder).draws(spans(longest + 1, last, base.mdp.max_tokens))
        for number, draw in enumerate(draws):
            if number % _TOKENS_UNASKED == 0 and not bool(wave.alive.any()):
                return
            draw()


def spans(first: int, last: int, capacity: int) -> Iterator[tuple[int, int]]:
    """Yield how many positions are read, and for how many tokens in a row.

    Args:
        first: positions that the first token needs; each further one needs one more.
        last: those that the last one needs.
        capacity: positions there are, at least ``last``.
    """
    while first <= last:
        span = min(-(-first // _SPAN_STEP) * _SPAN_STEP, capacity)
        yield span, min(span, last) - first + 1
        first = span + 1
