"""Episodes that somebody else wrote: demonstrations, and responses that people compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.rollouts.sampling_plan import SamplingPlan
from agents.rollouts.unpaid import unpaid_rollout
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout


def given_rollout(
    mdp: TokenMDP, prompts: Sequence[Tensor], responses: Sequence[Tensor], group: Tensor
) -> Rollout:
    """Return the record of given texts, nothing paid, with log-probabilities of 0.

    Args:
        mdp: gives width, padding and device.
        prompts: B vectors of ids.
        responses: B vectors of ids, at least one each.
        group: [B] rows with the same number share a prompt.
    """
    device = mdp.device
    tokens = torch.full((len(prompts), mdp.max_tokens), mdp.task.pad_id, device=device)
    for row, prompt, response in zip(tokens, prompts, responses, strict=True):
        text = torch.cat([prompt, response])
        row[: len(text)] = text.to(device)
    starts = torch.tensor([len(prompt) for prompt in prompts], device=device)
    lengths = starts + torch.tensor([len(response) for response in responses], device=device)
    plan = SamplingPlan(
        prompts=[], prompt_index=torch.full_like(group, -1), group=group, uniforms=None
    )
    return unpaid_rollout(tokens, starts, lengths, torch.zeros(tokens.shape, device=device), plan)
